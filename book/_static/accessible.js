/* What the theme leaves out for those who use no mouse or no screen. */
document.addEventListener("DOMContentLoaded", () => {
  // The logo lies outside every landmark: who goes from landmark to landmark would miss the way home.
  const place = document.querySelector(".bd-sidebar-primary .navbar-brand")?.parentElement;
  if (place && !place.closest("nav, header, main, [role=navigation]")) {
    place.setAttribute("role", "navigation");
    place.setAttribute("aria-label", "Home page");
  }
});
/* What scrolls sideways must be reached by the keyboard. */
const reachable = () => {
  for (const part of document.querySelectorAll("article pre, article div.math, article mjx-container, article .cell_output, article .output, article figure"))
    if (part.scrollWidth > part.clientWidth && ["auto", "scroll"].includes(getComputedStyle(part).overflowX) && !part.hasAttribute("tabindex"))
      part.tabIndex = 0;
};
addEventListener("load", () => { reachable(); window.MathJax?.startup?.promise?.then(reachable); });
addEventListener("resize", reachable);
document.addEventListener("toggle", reachable, true);
