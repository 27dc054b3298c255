"use strict";
// Light or dark: the system's choice until the reader makes one, which this page keeps for itself.
const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// Only what is on the screen plays; the methods of one prompt start together.
const play = document.getElementById("play");
let playing = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
const rows = [...document.querySelectorAll(".prompt")];
const visible = new Set();

function update() {
  for (const row of rows) {
    for (const video of row.querySelectorAll("video")) {
      if (playing && visible.has(row)) {
        video.play().catch(() => {});
      } else {
        video.pause();
      }
    }
  }
  if (play) play.textContent = playing ? "Pause videos" : "Play videos";
}

const watch = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting && !visible.has(target)) {
      visible.add(target);
      for (const video of target.querySelectorAll("video")) video.currentTime = 0;
    } else if (!isIntersecting) {
      visible.delete(target);
    }
  }
  update();
});
rows.forEach((row) => watch.observe(row));
if (play) {
  play.addEventListener("click", () => {
    playing = !playing;
    update();
  });
}
update();
