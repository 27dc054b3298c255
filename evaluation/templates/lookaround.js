"use strict";
// Look around in one video: every pixel of the canvas is looked up along its own viewing direction, so that no seam is
// drawn that the video has not. Conventions as in core/sphere.py: yaw > 0 looks right, pitch > 0 looks up.

const VERTEX = `#version 300 es
out vec2 screen;
void main() {
  screen = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  gl_Position = vec4(screen, 0.0, 1.0);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D clip;
uniform vec2 extent;
uniform mat3 view;
uniform bool flattened;
in vec2 screen;
out vec4 color;
const float PI = 3.14159265358979;
void main() {
  vec2 at = vec2(screen.x * extent.x * 0.5 + 1.0, 0.5 - screen.y * extent.y * 0.5);  // turned by 180 degrees
  if (flattened && abs(screen.y * extent.y) > 1.0) { color = vec4(0.0, 0.0, 0.0, 1.0); return; }
  if (!flattened) {
    vec3 d = normalize(view * vec3(screen * extent, 1.0));
    at = vec2(atan(d.x, d.z) / (2.0 * PI) + 0.5, 0.5 - asin(clamp(d.y, -1.0, 1.0)) / PI);
  }
  color = vec4(textureLod(clip, at, 0.0).rgb, 1.0);
}`;

class LookAround {
  constructor(dialog) {
    this.dialog = dialog;
    this.canvas = dialog.querySelector("canvas");
    this.message = dialog.querySelector(".message");
    this.video = Object.assign(document.createElement("video"), { muted: true, loop: true, playsInline: true });
    dialog.addEventListener("close", () => { this.video.pause(); cancelAnimationFrame(this.request); });
    dialog.addEventListener("click", (event) => {
      const name = event.target.dataset?.do;
      if (event.target === dialog || name === "close") dialog.close();
      else if (name === "play") this.video.paused ? this.video.play() : this.video.pause();
      else if (name) this.turn(name);
    });
    for (const kind of ["play", "pause"]) {
      this.video.addEventListener(kind, () => {
        dialog.querySelector("[data-do=play]").textContent = this.video.paused ? "Play" : "Pause";
      });
    }
    this.video.addEventListener("error", () => { this.say("This video cannot be played here."); });
    this.handle();
  }

  open(source, title) {
    this.dialog.querySelector(".bar p").textContent = title;
    this.say("");
    this.dialog.dataset.status = "loading";
    this.dialog.showModal();
    this.gl ??= this.start();
    if (!this.gl) return this.say("This browser has no WebGL 2, which looking around needs.");
    this.turn("look");
    this.video.src = source;
    this.video.play().catch(() => {});
    this.canvas.focus();
    cancelAnimationFrame(this.request);
    const tick = () => { this.draw(); this.request = requestAnimationFrame(tick); };
    tick();
  }

  say(text) { this.message.textContent = text; }

  turn(name) {
    const to = { look: [0, 0], seam: [180, 0], up: [0, 90], down: [0, -90], flat: [0, 0] }[name];
    [this.yaw, this.pitch] = to;
    this.fov = 90;
    this.flat = name === "flat";
    this.dialog.dataset.view = name;
  }

  handle() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons || this.flat) return;
      const scale = this.fov / Math.min(canvas.clientWidth, canvas.clientHeight);
      this.yaw -= event.movementX * scale;
      this.pitch = Math.max(-90, Math.min(90, this.pitch + event.movementY * scale));
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.fov = Math.max(30, Math.min(120, this.fov * Math.exp(event.deltaY * 0.001)));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-5, 0], ArrowRight: [5, 0], ArrowUp: [0, 5], ArrowDown: [0, -5] }[event.key];
      if (!step) return;
      event.preventDefault();
      this.yaw += step[0];
      this.pitch = Math.max(-90, Math.min(90, this.pitch + step[1]));
    });
  }

  start() {
    const gl = this.canvas.getContext("webgl2", { alpha: false, antialias: false, preserveDrawingBuffer: true });
    if (!gl) return null;
    const program = gl.createProgram();
    for (const [type, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    this.at = (name) => gl.getUniformLocation(program, name);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const [name, value] of [["WRAP_S", "REPEAT"], ["WRAP_T", "CLAMP_TO_EDGE"], ["MIN_FILTER", "LINEAR"], ["MAG_FILTER", "LINEAR"]]) {
      gl.texParameteri(gl.TEXTURE_2D, gl[`TEXTURE_${name}`], gl[value]);
    }
    return gl;
  }

  draw() {
    const { gl, canvas, video } = this;
    if (video.readyState < 2) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    try {
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, video);
    } catch {
      this.say("Browsers do not let a page look into video files beside it on disk: serve this folder over HTTP.");
      return;
    }
    const tangent = Math.tan((this.fov * Math.PI) / 360), short = Math.min(width, height);
    const extent = this.flat ? [1, (2 * height) / width] : [(tangent * width) / short, (tangent * height) / short];
    const [yaw, pitch] = [this.yaw, this.pitch].map((degrees) => (degrees * Math.PI) / 180);
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    gl.uniform1i(this.at("flattened"), this.flat ? 1 : 0);
    gl.uniform2f(this.at("extent"), ...extent);
    gl.uniformMatrix3fv(this.at("view"), false, [cy, 0, -sy, -sy * sp, cp, -cy * sp, sy * cp, sp, cy * cp]);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    this.dialog.dataset.status = "ready";
  }
}
