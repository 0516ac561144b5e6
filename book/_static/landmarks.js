/* The theme leaves its logo outside every landmark; a screen reader that goes from landmark to landmark would miss the way home. */
document.addEventListener("DOMContentLoaded", () => {
  const place = document.querySelector(".bd-sidebar-primary .navbar-brand")?.parentElement;
  if (place && !place.closest("nav, header, main, [role=navigation]")) {
    place.setAttribute("role", "navigation");
    place.setAttribute("aria-label", "Home page");
  }
});
