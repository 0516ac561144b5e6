// Runs before require.js: the widget modules, and the icon fonts beside them, come from this folder and not from a CDN.
(() => {
  const folder = document.currentScript.src.replace(/\/[^/]*$/, "");
  window.require = { paths: { "@jupyter-widgets": folder } };
  // The widgets ask for MathJax 2's queue; the book loads MathJax 3.
  document.addEventListener("DOMContentLoaded", () => {
    const mathjax = (window.MathJax = window.MathJax || {});
    const typeset = (element) => mathjax.startup?.promise?.then(() => mathjax.typesetPromise?.(element ? [element] : undefined));
    mathjax.Hub = { Queue: (...jobs) => jobs.forEach((job) => Array.isArray(job) && job[0] === "Typeset" && typeset(job[2])) };
  });
})();
