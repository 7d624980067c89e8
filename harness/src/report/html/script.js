// Steps through a counterexample. Without it the page is complete: every step is written out below the picture.
(() => {
  document.documentElement.classList.add("js");
  const all = (within, what) => Array.from(within.querySelectorAll(what));
  for (const player of all(document, ".player")) {
    const courses = all(player, ".course");
    const [first, back, next, other] = ["first", "back", "next", "other"].map(name => player.querySelector(`[data-do=${name}]`));
    const said = player.querySelector("output");
    let course = 0;
    // 0 is the whole picture; one more than there are steps is the end.
    let at = 0;
    const steps = () => Number(courses[course].dataset.steps);
    const show = focus => {
      at = Math.max(0, Math.min(at, steps() + 1));
      courses.forEach((one, index) => one.classList.toggle("shown", index === course));
      const shown = courses[course];
      for (const one of all(shown, "[data-step]")) {
        const step = Number(one.dataset.step);
        const is_now = at === step && !one.classList.contains("moment");
        one.classList.toggle("later", at !== 0 && step > at && !one.classList.contains("moment"));
        one.classList.toggle("now", is_now);
        one.classList.toggle("shown", at === step || at === 0 && step > steps());
        if (one.classList.contains("unit")) {
          if (is_now) one.setAttribute("aria-current", "step"); else one.removeAttribute("aria-current");
          if (is_now && focus !== null) {
            if (focus) one.focus({ preventScroll: true });
            one.scrollIntoView({ block: "nearest" });
            focus = null;
          }
        }
      }
      const where = at === 0 ? `All ${steps()} steps` : at > steps() ? "The end" : `Step ${at} of ${steps()}`;
      said.textContent = where;
      first.disabled = back.disabled = at === 0;
      next.disabled = at > steps();
      if (other) other.setAttribute("aria-pressed", String(course === 1));
    };
    const go = (to, focus = false) => { at = to; show(focus); };
    const swap = () => { if (courses.length > 1) { course = 1 - course; at = 0; show(null); } };
    first.addEventListener("click", () => go(0));
    back.addEventListener("click", () => go(at - 1));
    next.addEventListener("click", () => go(at + 1));
    if (other) other.addEventListener("click", swap);
    for (const unit of all(player, ".unit")) {
      unit.addEventListener("click", event => { event.preventDefault(); go(Number(unit.dataset.step), true); });
    }
    player.addEventListener("keydown", event => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const keys = {
        ArrowRight: () => go(at + 1, true), ArrowDown: () => go(at + 1, true),
        ArrowLeft: () => go(at - 1, true), ArrowUp: () => go(at - 1, true),
        Home: () => go(0), End: () => go(steps() + 1), s: swap,
      };
      if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
    });
    show(null);
  }
  for (const button of all(document, "[data-copy]")) {
    button.addEventListener("click", async () => {
      const text = button.dataset.copy;
      try { await navigator.clipboard.writeText(text); }
      catch {
        // Pages that were opened as files may have no clipboard.
        const area = document.createElement("textarea");
        area.value = text;
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
        button.focus();
      }
      button.textContent = "Copied";
    });
  }
  for (const timeline of all(document, ".timeline")) {
    const scroll = timeline.querySelector(".over-time-scroll");
    const wide = timeline.querySelector(".over-time-wide");
    const said = timeline.querySelector("output");
    const buttons = all(timeline, "[data-zoom]");
    let zoom = 1;
    const show = to => {
      // What is in the middle stays there.
      const middle = (scroll.scrollLeft + scroll.clientWidth / 2) / wide.offsetWidth;
      zoom = Math.max(1, Math.min(64, to));
      wide.style.width = `${100 * zoom}%`;
      scroll.scrollLeft = middle * wide.offsetWidth - scroll.clientWidth / 2;
      for (const button of buttons) button.disabled = Number(button.dataset.zoom) < 1 ? zoom === 1 : zoom === 64;
      said.textContent = zoom === 1 ? "" : `${zoom} times as wide`;
    };
    for (const button of buttons) button.addEventListener("click", () => show(zoom * Number(button.dataset.zoom)));
    show(1);
  }
  // What is linked to may lie in a case that is closed.
  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const around = target && target.closest("details");
    if (around && !around.open) { around.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  open();
})();
