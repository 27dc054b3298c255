// Two 360-degree videos with one view direction and one clock. This follows screen.js in one script.

const HOME = { yaw: 0, pitch: 0, fov: 90 };
const FOV = [30, 120];        // degrees, vertical on a square screen: the shorter side's field of view
const PITCH = [-90, 90];
const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));
const wrap = (degrees) => ((((degrees + 180) % 360) + 360) % 360) - 180;

class Player {
  constructor(root) {
    this.root = root;
    this.box = root.querySelector(".player");
    this.canvases = [...root.querySelectorAll("canvas")];
    this.screens = this.canvases.map((canvas) => new Screen(canvas));
    this.state = { ...HOME, mode: "look", playing: true };
    this.trial = null;
    this.frame = 0;
    this.stop = new AbortController();
    this.pointers = new Map();
    this.listen();
    this.observer = new ResizeObserver(() => { this.dirty = true; });
    this.canvases.forEach((canvas) => this.observer.observe(canvas));
    const tick = (time) => { this.tick(time); this.request = requestAnimationFrame(tick); };
    this.request = requestAnimationFrame(tick);
  }

  // Called again whenever Python sends data; loads only when the trial is another one.
  update(data) {
    this.data = data;
    if (data.trial === this.trial) return;
    const first = this.trial === null;
    this.trial = data.trial;
    this.label(data.texts);
    this.state = { ...HOME, mode: "look", playing: true };
    this.frame = 0;
    this.started = null;
    this.loaded = false;
    this.show();
    if (!first) this.box.scrollIntoView({ block: "center" });
    this.load(data);
  }

  async load(data) {
    const alive = () => this.trial === data.trial && !this.stop.signal.aborted;
    const total = 2 * data.video.frames;
    let done = 0;
    const progress = () => { this.say(`${data.texts.loading} ${Math.round((100 * ++done) / total)} %`); };
    if (this.screens.some((screen) => !screen.gl)) return this.say(data.texts.no_webgl, "error");
    this.say(data.texts.loading);
    this.box.dataset.status = "loading";
    try {
      const urls = [data.left, data.right].map((path) => new URL(path, document.baseURI));
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

  label(texts) {
    for (const side of ["left", "right"]) {
      this.root.querySelector(`[data-side=${side}] figcaption`).textContent = texts[side];
      this.root.querySelector(`[data-side=${side}] canvas`).setAttribute("aria-label", texts[side]);
    }
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

  set(changes) {
    Object.assign(this.state, changes);
    this.state.yaw = wrap(this.state.yaw);
    this.state.pitch = clamp(this.state.pitch, PITCH);
    this.state.fov = clamp(this.state.fov, FOV);
    this.show();
  }

  show() {
    const { mode, yaw, pitch, fov, playing } = this.state;
    Object.assign(this.box.dataset, { mode, yaw: yaw.toFixed(2), pitch: pitch.toFixed(2), fov: fov.toFixed(1), playing });
    for (const name of ["look", "seam", "flat"]) {
      this.root.querySelector(`[data-do=${name}]`).setAttribute("aria-pressed", String(mode === name));
    }
    this.root.querySelector("[data-do=play]").textContent = playing ? this.data.texts.pause : this.data.texts.play;
    this.dirty = true;
  }

  turn(yaw, pitch) {
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
    if (this.state.mode === "flat") return false;
    this.set({ fov: before * factor });
    return this.state.fov !== before;
  }

  act(name) {
    const actions = {
      look: () => this.set({ mode: "look", yaw: 0, pitch: 0 }),
      seam: () => this.set({ mode: "seam", yaw: 180, pitch: 0 }),
      flat: () => this.set({ mode: "flat" }),
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
    for (const canvas of this.canvases) {
      on(canvas, "pointerdown", (event) => {
        if (event.button !== 0) return;
        canvas.setPointerCapture(event.pointerId);
        this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
        canvas.classList.add("dragging");
        this.box.focus({ preventScroll: true });
      });
      on(canvas, "pointermove", (event) => this.drag(event, canvas));
      for (const name of ["pointerup", "pointercancel"]) {
        on(canvas, name, (event) => {
          this.pointers.delete(event.pointerId);
          canvas.classList.remove("dragging");
        });
      }
      on(canvas, "wheel", (event) => { if (this.zoom(Math.exp(event.deltaY * 0.001))) event.preventDefault(); }, { passive: false });
      on(canvas, "webglcontextlost", () => { if (!this.stop.signal.aborted) this.say(this.data.texts.failed, "error"); });
    }
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

export default function ({ data, parentElement }) {
  let player = players.get(parentElement);
  if (!player) {
    player = new Player(parentElement);
    players.set(parentElement, player);
  }
  player.update(data);
  return () => {
    player.destroy();
    players.delete(parentElement);
  };
}
