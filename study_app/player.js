// Two 360-degree videos with one view direction and one clock.
//
// Every frame of both clips is decoded once into a WebGL 2 texture array, so that the two sides always show the same
// frame number and stepping is exact. A pixel's colour is looked up along its own viewing direction: longitude repeats
// (REPEAT on S), latitude stops at the poles (CLAMP on T), filtering is LINEAR and there are no mipmaps, because a
// mipmap level would be chosen from the jump of the longitude at 180 degrees and draw a seam of its own.
//
// Conventions as in core/sphere.py: x right, y up, z forward; longitude 0 is the picture's centre and grows to the
// right; yaw > 0 looks right, pitch > 0 looks up.

const VERTEX = `#version 300 es
out vec2 screen;  // -1..1, y up
void main() {
  screen = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  gl_Position = vec4(screen, 0.0, 1.0);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
precision highp sampler2DArray;
uniform sampler2DArray clip;
uniform float layer;
uniform vec2 extent;  // tangents of half the field of view; flat: canvas size in units of the picture's size
uniform mat3 view;    // columns: right, up, forward
uniform bool flat_;
in vec2 screen;
out vec4 color;
const float PI = 3.14159265358979;
void main() {
  vec2 at;
  if (flat_) {  // the whole picture turned by 180 degrees, so that its ends meet in the middle
    vec2 p = screen * extent * 0.5;
    if (abs(p.x) > 0.5 || abs(p.y) > 0.5) { color = vec4(0.082, 0.098, 0.106, 1.0); return; }
    at = vec2(p.x + 1.0, 0.5 - p.y);
  } else {
    vec3 d = normalize(view * vec3(screen * extent, 1.0));
    at = vec2(atan(d.x, d.z) / (2.0 * PI) + 0.5, 0.5 - asin(clamp(d.y, -1.0, 1.0)) / PI);
  }
  color = vec4(textureLod(clip, vec3(at, layer), 0.0).rgb, 1.0);
}`;

const HOME = { yaw: 0, pitch: 0, fov: 90 };
const FOV = [30, 120];        // degrees, vertical on a square screen: the shorter side's field of view
const PITCH = [-90, 90];
const clamp = (value, [low, high]) => Math.min(high, Math.max(low, value));
const wrap = (degrees) => ((((degrees + 180) % 360) + 360) % 360) - 180;

function program(gl) {
  const built = gl.createProgram();
  for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(built, shader);
  }
  gl.linkProgram(built);
  if (!gl.getProgramParameter(built, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(built) || "link failed");
  return built;
}

// One side: a canvas, its context and the texture array with all frames of the current clip.
class Screen {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { alpha: false, antialias: false, powerPreference: "high-performance" });
    if (!this.gl) return;
    this.program = program(this.gl);
    this.at = (name) => this.gl.getUniformLocation(this.program, name);
    this.texture = null;
  }

  // Decode all frames of a clip: seek to the middle of each frame's time and copy what the video shows then.
  async load(url, { frames, fps, width, height }, alive, progress) {
    const gl = this.gl;
    const response = await fetch(url, { credentials: "same-origin" });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const source = URL.createObjectURL(await response.blob());
    const video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    video.preload = "auto";
    const texture = gl.createTexture();
    try {
      const ready = event(video, "loadeddata");
      video.src = source;
      await ready;
      if (video.videoWidth !== width || video.videoHeight !== height) throw new Error("unexpected video size");
      gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
      gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA8, width, height, frames);
      for (const [name, value] of [["WRAP_S", "REPEAT"], ["WRAP_T", "CLAMP_TO_EDGE"], ["MIN_FILTER", "LINEAR"], ["MAG_FILTER", "LINEAR"]]) {
        gl.texParameteri(gl.TEXTURE_2D_ARRAY, gl[`TEXTURE_${name}`], gl[value]);
      }
      for (let frame = 0; frame < frames; frame++) {
        const shown = event(video, "seeked");
        video.currentTime = (frame + 0.5) / fps;
        await shown;
        if (!alive()) throw new Error("superseded");
        gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
        gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, frame, width, height, 1, gl.RGBA, gl.UNSIGNED_BYTE, video);
        progress();
      }
      if (gl.getError() !== gl.NO_ERROR) throw new Error("out of graphics memory");
      gl.deleteTexture(this.texture);
      this.texture = texture;
    } catch (error) {
      gl.deleteTexture(texture);
      throw error;
    } finally {
      video.removeAttribute("src");
      video.load();
      URL.revokeObjectURL(source);
    }
  }

  draw(state, frame) {
    const { gl, canvas } = this;
    if (!gl || !this.texture || gl.isContextLost()) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.useProgram(this.program);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.texture);
    const short = Math.min(width, height);
    const tangent = Math.tan((state.fov * Math.PI) / 360);
    const flat = state.mode === "flat";
    const picture = Math.min(width, 2 * height);  // width of the flat 2:1 picture on this canvas
    gl.uniform1i(this.at("clip"), 0);
    gl.uniform1f(this.at("layer"), frame);
    gl.uniform1i(this.at("flat_"), flat ? 1 : 0);
    if (flat) gl.uniform2f(this.at("extent"), width / picture, height / (picture / 2));
    else gl.uniform2f(this.at("extent"), (tangent * width) / short, (tangent * height) / short);
    gl.uniformMatrix3fv(this.at("view"), false, axes(state.yaw, state.pitch));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  release() {
    this.gl?.deleteTexture(this.texture);
    this.texture = null;
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

function event(video, name) {
  return new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, { once: true });
    video.addEventListener("error", () => reject(new Error(video.error?.message || "cannot be decoded")), { once: true });
  });
}

// Right, up and forward of a viewer who looks to (yaw, pitch), in degrees, as the columns of a 3 x 3 matrix.
function axes(yawDegrees, pitchDegrees) {
  const yaw = (yawDegrees * Math.PI) / 180, pitch = (pitchDegrees * Math.PI) / 180;
  const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
  return [cy, 0, -sy, -sy * sp, cp, -cy * sp, sy * cp, sp, cy * cp];
}

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
