#!/usr/bin/env bash
# A real SLURM of one node on this machine, for testing the batch.
#
#   tests/slurm/one_node.sh start [FOLDER]    as root; needs `apt-get install slurm-wlm munge`
#   tests/slurm/one_node.sh stop  [FOLDER]
#
# State, logs and pids lie in FOLDER (default: echolib-slurm in the temporary folder). /etc/slurm/slurm.conf is written, since
# Snakemake's jobs drop SLURM_CONF from their environment and look there; one that this script did not write is never touched.
set -euo pipefail

action=${1:?start or stop}
folder=${2:-${TMPDIR:-/tmp}/echolib-slurm}
conf=/etc/slurm/slurm.conf
mark="# written by echolib's tests/slurm/one_node.sh"

fail() { echo "one_node.sh: $*" >&2; exit 2; }

stop_one() {  # by the pid that the daemon wrote, and only if it is still that daemon
  local name=$1 pid
  [ -s "$folder/$name.pid" ] || return 0
  pid=$(cat "$folder/$name.pid")
  if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$name" ]; then
    kill "$pid"
    for _ in $(seq 100); do [ -d "/proc/$pid" ] || break; sleep 0.1; done
    [ -d "/proc/$pid" ] && kill -9 "$pid"
  fi
  rm -f "$folder/$name.pid"
}

stop() {
  stop_one slurmd; stop_one slurmctld; stop_one munged
  if [ -f "$conf" ] && head -n 1 "$conf" | grep -qF "$mark"; then rm -f "$conf"; fi
}

[ "$(id -u)" -eq 0 ] || fail "must be run as root"
case $action in
  stop) stop; exit 0 ;;
  start) ;;
  *) fail "'$action'; expected start or stop" ;;
esac

for name in munged slurmctld slurmd sbatch; do
  command -v "$name" >/dev/null || fail "$name is missing; apt-get install slurm-wlm munge"
done
if [ -f "$conf" ] && ! head -n 1 "$conf" | grep -qF "$mark"; then fail "$conf is another SLURM's; it is left as it is"; fi
stop
rm -rf "${folder:?}/state" "$folder/spool"
mkdir -p "$folder/state" "$folder/spool" /etc/slurm /run/munge
chmod 755 "$folder" /run/munge

[ -s /etc/munge/munge.key ] || head -c 1024 /dev/urandom > /etc/munge/munge.key
chown munge: /etc/munge/munge.key /run/munge
chmod 400 /etc/munge/munge.key
install -d -o munge -g munge -m 755 "$folder/munge"
host=$(hostname -s)
memory=$(awk '/MemTotal/ { print int($2 / 1024) - 500 }' /proc/meminfo)

cat > "$conf" <<EOF
$mark
ClusterName=echolib
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MpiDefault=none
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc --all) RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$host Default=YES MaxTime=60 State=UP
EOF

runuser -u munge -- munged --force --pid-file="$folder/munge/munged.pid" --log-file="$folder/munge/munged.log" \
  --seed-file="$folder/munge/munge.seed" --socket=/run/munge/munge.socket.2
for _ in $(seq 50); do [ -s "$folder/munge/munged.pid" ] && break; sleep 0.1; done
cp "$folder/munge/munged.pid" "$folder/munged.pid"
slurmctld
slurmd
for _ in $(seq 300); do
  [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && { echo "SLURM is up: $(sinfo -h -o '%P %D node, %c cores, %m MB, %T')"; exit 0; }
  sleep 0.1
done
tail -n 5 "$folder"/slurm*.log >&2
fail "the node did not come up; logs in $folder"
