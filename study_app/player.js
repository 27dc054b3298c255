// Two or more 360-degree videos with one view direction and one clock. This follows screen.js in one script.

const HOME = { yaw: 0, pitch: 0, fov: 90 };
const FOV = [30, 120];        // degrees, vertical on a square screen: the shorter side's field of view
const PITCH = [-90, 90];
const VIEWS = ["look", "seam", "flat", "up", "down"];
const LAYOUTS = ["side", "swipe", "toggle"];
const SEAM_LOOKED = 0.5;      // seconds for which the seam has to be in sight
const SETTLING = 500;         // milliseconds for which a page may still grow after the videos are there
const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));
const wrap = (degrees) => ((((degrees + 180) % 360) + 360) % 360) - 180;

class Player {
  constructor(root) {
    this.root = root;
    this.box = root.querySelector(".player");
    this.divider = root.querySelector(".divider");
    this.screens = [];
    this.state = { ...HOME, mode: "look", layout: "side", top: 0, playing: true };
    this.trial = null;
    this.frame = 0;
    this.stop = new AbortController();
    this.pointers = new Map();
    this.observer = new ResizeObserver(() => { this.dirty = true; });
    this.listen();
    const tick = (time) => { this.tick(time); this.request = requestAnimationFrame(tick); };
    this.request = requestAnimationFrame(tick);
  }

  // Called again whenever Python sends data; loads only when the trial is another one.
  update(data, report) {
    this.data = data;
    this.report = report;
    if (data.trial === this.trial) return;
    this.trial = data.trial;
    this.furnish(data.sides.length);
    this.label(data);
    this.state = { ...this.state, ...HOME, mode: "look", top: 0, playing: true };
    this.frame = 0;
    this.started = null;
    this.loaded = false;
    this.sights = data.sides.map(() => new Set());  // frames that were shown, by side
    this.seamSeconds = 0;
    this.reported = false;
    delete this.box.dataset.seen;
    this.show();
    if (data.view === "seam") this.act("seam");
    if (data.reveal) this.reveal(data.trial);
    this.load(data);
  }

  // A new page begins where the last one was scrolled to, and grows while it is drawn: the videos are kept in sight
  // until they are loaded, or until the rater does something.
  reveal(trial) {
    const over = new AbortController();
    const page = this.root.host?.closest(".st-key-trial") ?? this.box;  // with the progress and the description
    for (const name of ["wheel", "pointerdown", "keydown"]) {
      window.addEventListener(name, () => over.abort(), { capture: true, signal: over.signal });
    }
    let until = null;
    const step = (time) => {
      if (over.signal.aborted) return;
      if (this.stop.signal.aborted || this.trial !== trial || time > (until ?? Infinity)) return void over.abort();
      page.scrollIntoView({ block: "start" });
      if (this.loaded || this.box.dataset.status === "error") until ??= time + SETTLING;
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  // As many screens as there are videos.
  furnish(count) {
    if (this.screens.length === count) return;
    this.screens.forEach((screen) => screen.release());
    this.root.querySelectorAll(".screen").forEach((figure) => figure.remove());
    this.canvases = [];
    for (let index = 0; index < count; index++) {
      const figure = document.createElement("figure");
      figure.className = "screen";
      figure.append(document.createElement("canvas"), document.createElement("figcaption"));
      this.root.querySelector(".message").before(figure);
      this.canvases.push(figure.firstChild);
      this.observer.observe(figure.firstChild);
      this.handle(figure.firstChild);
    }
    this.screens = this.canvases.map((canvas) => new Screen(canvas));
    this.box.dataset.count = count;
    this.root.querySelector(".layouts").hidden = count !== 2;
  }

  async load(data) {
    const alive = () => this.trial === data.trial && !this.stop.signal.aborted;
    const total = data.sides.length * data.video.frames;
    let done = 0;
    const progress = () => { this.say(`${data.texts.loading} ${Math.round((100 * ++done) / total)} %`); };
    if (this.screens.some((screen) => !screen.gl)) return this.say(data.texts.no_webgl, "error");
    this.say(data.texts.loading);
    this.box.dataset.status = "loading";
    try {
      const urls = data.sides.map(({ url }) => new URL(url, document.baseURI));
      await Promise.all(this.screens.map((screen, side) => screen.load(urls[side], data.video, alive, progress)));
      if (!alive()) return;
      this.loaded = true;
      this.dirty = true;
      this.say("");
      this.box.dataset.status = "ready";
      for (const path of data.next) fetch(new URL(path, document.baseURI), { credentials: "same-origin" }).catch(() => {});
    } catch (error) {
      if (!alive()) return;
      console.error("player:", error);
      this.say(data.texts.failed, "error");
    }
  }

  say(text, status) {
    this.root.querySelector(".message").textContent = text;
    if (status) this.box.dataset.status = status;
  }

  label({ texts, sides }) {
    this.root.querySelectorAll(".screen").forEach((figure, index) => {
      figure.dataset.side = sides[index].side;
      figure.querySelector("figcaption").textContent = sides[index].name;
      figure.querySelector("canvas").setAttribute("aria-label", sides[index].name);
    });
    this.divider.setAttribute("aria-label", texts.divider);
    for (const button of this.root.querySelectorAll("button")) {
      const name = button.dataset.do;
      button.title = texts[`${name}_help`] ?? texts[name];
      if (name === "back" || name === "forward") button.setAttribute("aria-label", texts[name]);
      else button.textContent = texts[name];
    }
    this.box.setAttribute("aria-label", texts.label);
    this.root.querySelector(".hint").textContent = texts.hint;
  }

  // One clock for both sides: the number of the frame follows from the time since play began.
  tick(time) {
    if (!this.loaded) return;
    const { frames, fps } = this.data.video;
    this.look(Math.min(0.1, (time - (this.last ?? time)) / 1000));
    this.last = time;
    if (this.state.playing) {
      this.started ??= time - (this.frame * 1000) / fps;
      const frame = Math.floor(((time - this.started) * fps) / 1000) % frames;
      if (frame !== this.frame) { this.frame = frame; this.dirty = true; }
    }
    if (!this.dirty) return;
    this.dirty = false;
    this.screens.forEach((screen) => screen.draw(this.state, this.frame));
    this.root.querySelector("output").textContent = `${this.frame + 1} / ${frames}`;
    this.box.dataset.frame = this.frame;
  }

  // Notes what is in sight, and tells Python once all frames of all videos, and the seam, have been.
  look(seconds) {
    if (this.reported || document.hidden) return;
    const { frames } = this.data.video;
    const one = this.state.layout === "toggle" && this.screens.length === 2;
    this.sights.forEach((sight, side) => { if (!one || side === this.state.top) sight.add(this.frame); });
    const { mode, yaw, pitch, fov } = this.state;
    const behind = Math.abs(wrap(yaw - 180)) < fov / 2 && Math.abs(pitch) < 60;
    if (mode === "flat" || mode === "seam" || behind) this.seamSeconds += seconds;
    if (this.seamSeconds < SEAM_LOOKED || this.sights.some((sight) => sight.size < frames)) return;
    this.reported = true;
    this.box.dataset.seen = "true";
    this.report("seen", this.trial);
  }

  set(changes) {
    Object.assign(this.state, changes);
    this.state.yaw = wrap(this.state.yaw);
    this.state.pitch = clamp(this.state.pitch, PITCH);
    this.state.fov = clamp(this.state.fov, FOV);
    this.show();
  }

  show() {
    const { mode, yaw, pitch, fov, playing, layout, top } = this.state;
    Object.assign(this.box.dataset, { mode, yaw: yaw.toFixed(2), pitch: pitch.toFixed(2), fov: fov.toFixed(1), playing, layout, top });
    for (const name of VIEWS) this.press(name, mode === name);
    for (const name of LAYOUTS) this.press(name, layout === name);
    this.divider.hidden = layout !== "swipe";
    this.canvases.forEach((canvas, side) => {
      const figure = canvas.parentElement;
      figure.hidden = layout === "toggle" && side !== top;
      figure.style.clipPath = layout === "swipe" && side === 1 ? `inset(0 0 0 ${this.divider.value}%)` : "";
    });
    this.root.querySelector("[data-do=play]").textContent = playing ? this.data.texts.pause : this.data.texts.play;
    this.dirty = true;
  }

  press(name, down) {
    this.root.querySelector(`[data-do=${name}]`).setAttribute("aria-pressed", String(down));
  }

  arrange(layout) {
    if (this.screens.length !== 2) return;
    const again = layout === "toggle" && this.state.layout === "toggle";
    this.set({ layout, top: again ? 1 - this.state.top : this.state.top });
  }

  // Whoever turns or zooms needs the hint no more.
  turn(yaw, pitch) {
    this.box.dataset.touched = "";
    if (this.state.mode !== "flat") this.set({ mode: "look", yaw: this.state.yaw + yaw, pitch: this.state.pitch + pitch });
  }

  step(by) {
    const { frames } = this.data.video;
    this.frame = (this.frame + by + frames) % frames;
    this.started = null;
    this.set({ playing: false });
  }

  // Returns whether the view changed, so that the page scrolls on at the end of the range.
  zoom(factor) {
    const before = this.state.fov;
    this.box.dataset.touched = "";
    if (this.state.mode === "flat") return false;
    this.set({ fov: before * factor });
    return this.state.fov !== before;
  }

  act(name) {
    const actions = {
      look: () => this.set({ mode: "look", yaw: 0, pitch: 0 }),
      seam: () => this.set({ mode: "seam", yaw: 180, pitch: 0 }),
      flat: () => this.set({ mode: "flat" }),
      up: () => this.set({ mode: "up", pitch: 90 }),
      down: () => this.set({ mode: "down", pitch: -90 }),
      side: () => this.arrange("side"),
      swipe: () => this.arrange("swipe"),
      toggle: () => this.arrange("toggle"),
      reset: () => this.set({ ...HOME, mode: "look" }),
      play: () => { this.started = null; this.set({ playing: !this.state.playing }); },
      back: () => this.step(-1),
      forward: () => this.step(1),
    };
    if (this.data) actions[name]?.();
  }

  listen() {
    const on = (target, name, handler, options = {}) => target.addEventListener(name, handler, { ...options, signal: this.stop.signal });
    for (const button of this.root.querySelectorAll("button")) on(button, "click", () => this.act(button.dataset.do));
    on(this.box, "keydown", (event) => this.key(event));
    on(this.divider, "input", () => this.show());
  }

  handle(canvas) {
    const on = (name, handler, options = {}) => canvas.addEventListener(name, handler, { ...options, signal: this.stop.signal });
    on("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
      canvas.classList.add("dragging");
      this.box.focus({ preventScroll: true });
    });
    on("pointermove", (event) => this.drag(event, canvas));
    for (const name of ["pointerup", "pointercancel"]) {
      on(name, (event) => {
        this.pointers.delete(event.pointerId);
        canvas.classList.remove("dragging");
      });
    }
    on("wheel", (event) => { if (this.zoom(Math.exp(event.deltaY * 0.001))) event.preventDefault(); }, { passive: false });
    on("webglcontextlost", () => { if (canvas.isConnected && !this.stop.signal.aborted) this.say(this.data.texts.failed, "error"); });
  }

  // One finger or the mouse turns the view, so that the point under it stays under it; two fingers zoom.
  drag(event, canvas) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const distance = () => {
      const [a, b] = [...this.pointers.values()];
      return Math.hypot(a[0] - b[0], a[1] - b[1]);
    };
    const spread = this.pointers.size === 2 ? distance() : null;
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (spread !== null) return void this.zoom(spread / Math.max(1, distance()));
    const degrees = this.state.fov / Math.min(canvas.clientWidth, canvas.clientHeight);
    this.turn((before[0] - event.clientX) * degrees, (event.clientY - before[1]) * degrees);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && event.target.tagName === "BUTTON") return;
    if (event.target === this.divider && event.key.startsWith("Arrow")) return;
    const step = this.state.fov / 12;
    const actions = {
      ArrowLeft: () => this.turn(-step, 0),
      ArrowRight: () => this.turn(step, 0),
      ArrowUp: () => this.turn(0, step),
      ArrowDown: () => this.turn(0, -step),
      "+": () => this.zoom(0.9),
      "-": () => this.zoom(1 / 0.9),
      " ": () => this.act("play"),
      ",": () => this.act("back"),
      ".": () => this.act("forward"),
      l: () => this.act("look"),
      s: () => this.act("seam"),
      f: () => this.act("flat"),
      u: () => this.act("up"),
      d: () => this.act("down"),
      1: () => this.act("side"),
      2: () => this.act("swipe"),
      3: () => this.act("toggle"),
      t: () => this.act("toggle"),
      0: () => this.act("reset"),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    action();
    event.preventDefault();
    event.stopPropagation();
  }

  destroy() {
    this.stop.abort();
    this.observer.disconnect();
    cancelAnimationFrame(this.request);
    this.screens.forEach((screen) => screen.release());
  }
}

const players = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  let player = players.get(parentElement);
  if (!player) {
    player = new Player(parentElement);
    players.set(parentElement, player);
  }
  player.update(data, setStateValue);
  return () => {
    player.destroy();
    players.delete(parentElement);
  };
}
