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

// A click on a video looks around in it; the best and worst point to the video of the same prompt and method above.
const around = new LookAround(document.getElementById("around"));
const source = (button) => {
  if (button.dataset.video) return button.dataset.video;
  const own = button.querySelector("video");
  if (own) return own.src;
  const same = [...document.querySelectorAll(".prompt .look")].find((other) => other.dataset.same === button.dataset.same);
  return same.querySelector("video").src;
};
for (const button of document.querySelectorAll(".look")) {
  button.addEventListener("click", () => {
    around.open(source(button), button.getAttribute("aria-label").replace("look around: ", ""));
  });
}

for (const button of document.querySelectorAll("[data-copy]")) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    const from = document.getElementById(button.dataset.copy);
    const parts = [...from.querySelectorAll("p")].map((paragraph) => paragraph.textContent);
    const text = parts.length ? parts.join("\n\n") : from.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      from.hidden = false;  // without permission: shown and selected, for the reader's own copy
      getSelection().selectAllChildren(from);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = label; }, 2500);
  });
}
