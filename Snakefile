# The jobs of a book: cohort -> store -> runs (stage 1 before stage 2) -> evaluations -> notebooks -> pages.
#
#   make batch PROFILE=desk JOBS=2 [EXECUTOR=slurm]        plans, runs this file, and builds what can be built when a job fails
#   snakemake --cores 2 --config profile=desk              this file alone
#
# What the jobs are follows from the registry, and which of them are left from the ledger: echolib.batch.jobs writes both to
# jobs.json before anything runs. A record is what counts as finished; the markers below belong to one call, so Snakemake's own
# rules of what is up to date never decide anything. A job is one echolib command, its output is in logs/.
import json
from pathlib import Path

PROFILE = config.get("profile", "smoke")
FOLDER = config.get("folder", f"build/{PROFILE}/batch/direct")
if "folder" not in config and workflow.is_main_process:
    from echolib.batch.jobs import Options, prepare
    from echolib.ledger.workspace import Workspace

    prepare(Workspace.open(PROFILE), Path(FOLDER), Options())

JOBS = {job["id"]: job for job in json.loads(Path(FOLDER, "jobs.json").read_text(encoding="utf-8"))}
PARTITION = {"slurm_partition": p for p in {job["partition"] for job in JOBS.values()} if p}
# The first marker says that the job began, the last one how it ended; a job that is killed leaves the first.
SHELL = ("mkdir -p {FOLDER}/status && echo began > {params.status} && code=0; export OMP_NUM_THREADS={threads}; "
         "{params.command} > {log} 2>&1 || code=$?; echo $code > {params.status}; "
         "[ $code = 0 ] || {{ tail -n 5 {log} >&2; exit $code; }}")


def job(wildcards, rule):
    return JOBS[f"{rule}-{wildcards.name}"]


def needs(rule):
    return lambda wildcards: [f"{FOLDER}/done/{name}" for name in job(wildcards, rule)["needs"]]


def field(rule, name):
    return lambda wildcards: job(wildcards, rule)[name]


wildcard_constraints:
    name="[A-Za-z0-9_-]+",


localrules:
    all,


rule all:
    input:
        f"{FOLDER}/done/book",


rule cohort:  # Simulates a phantom cohort.
    input:
        needs("cohort"),
    output:
        touch(FOLDER + "/done/cohort-{name}"),
    log:
        FOLDER + "/logs/cohort-{name}.log",
    params:
        command=field("cohort", "command"),
        news=field("cohort", "news"),
        status=FOLDER + "/status/cohort-{name}",
    threads: field("cohort", "threads")
    resources:
        gpu=field("cohort", "gpu"),
        mem_mb=field("cohort", "mem_mb"),
        runtime=field("cohort", "runtime"),
        **PARTITION,
    message:
        "{params.news}"
    shell:
        SHELL


rule store:  # Packs a cohort.
    input:
        needs("store"),
    output:
        touch(FOLDER + "/done/store-{name}"),
    log:
        FOLDER + "/logs/store-{name}.log",
    params:
        command=field("store", "command"),
        news=field("store", "news"),
        status=FOLDER + "/status/store-{name}",
    threads: field("store", "threads")
    resources:
        gpu=field("store", "gpu"),
        mem_mb=field("store", "mem_mb"),
        runtime=field("store", "runtime"),
        **PARTITION,
    message:
        "{params.news}"
    shell:
        SHELL


rule run:  # Trains one network from one seed and scores it; a run that starts from another one comes after it.
    input:
        needs("run"),
    output:
        touch(FOLDER + "/done/run-{name}"),
    log:
        FOLDER + "/logs/run-{name}.log",
    params:
        command=field("run", "command"),
        news=field("run", "news"),
        status=FOLDER + "/status/run-{name}",
    threads: field("run", "threads")
    resources:
        gpu=field("run", "gpu"),
        mem_mb=field("run", "mem_mb"),
        runtime=field("run", "runtime"),
        **PARTITION,
    message:
        "{params.news}"
    shell:
        SHELL


rule evaluation:  # Runs a trained network on whole videos.
    input:
        needs("evaluation"),
    output:
        touch(FOLDER + "/done/evaluation-{name}"),
    log:
        FOLDER + "/logs/evaluation-{name}.log",
    params:
        command=field("evaluation", "command"),
        news=field("evaluation", "news"),
        status=FOLDER + "/status/evaluation-{name}",
    threads: field("evaluation", "threads")
    resources:
        gpu=field("evaluation", "gpu"),
        mem_mb=field("evaluation", "mem_mb"),
        runtime=field("evaluation", "runtime"),
        **PARTITION,
    message:
        "{params.news}"
    shell:
        SHELL


rule notebook:  # Executes a notebook.
    input:
        needs("notebook"),
    output:
        touch(FOLDER + "/done/notebook-{name}"),
    log:
        FOLDER + "/logs/notebook-{name}.log",
    params:
        command=field("notebook", "command"),
        news=field("notebook", "news"),
        status=FOLDER + "/status/notebook-{name}",
    threads: field("notebook", "threads")
    resources:
        gpu=field("notebook", "gpu"),
        mem_mb=field("notebook", "mem_mb"),
        runtime=field("notebook", "runtime"),
        **PARTITION,
    message:
        "{params.news}"
    shell:
        SHELL


rule book:  # Renders the pages; one that lacks something is a note, and the job fails.
    input:
        [f"{FOLDER}/done/{name}" for name in JOBS["book"]["needs"]],
    output:
        touch(FOLDER + "/done/book"),
    log:
        FOLDER + "/logs/book.log",
    params:
        command=JOBS["book"]["command"],
        news=JOBS["book"]["news"],
        status=FOLDER + "/status/book",
    threads: JOBS["book"]["threads"]
    resources:
        gpu=JOBS["book"]["gpu"],
        mem_mb=JOBS["book"]["mem_mb"],
        runtime=JOBS["book"]["runtime"],
        **PARTITION,
    message:
        "{params.news}"
    shell:
        SHELL
