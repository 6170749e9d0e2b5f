// SPDX-License-Identifier: Apache-2.0
// Draws what the server says and sends what people ask for. Decides nothing.

const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};
const fixed = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
const ms = (seconds) => (seconds === null || seconds === undefined ? "–" : seconds >= 1 ? `${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : `${(seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0)} ms`);
const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(share * 100)} %`);
const clock = (seconds) => seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };

const memory = (() => {  // private windows have none
  try { sessionStorage.setItem("adamoe", "1"); return sessionStorage; } catch { return new Map(); }
})();
const recall = (name) => (memory.getItem ? memory.getItem(name) : memory.get(name)) || "";
const keep = (name, value) => (memory.setItem ? memory.setItem(name, value) : memory.set(name, value));

// --- sockets ------------------------------------------------------------------------------------

const hash = new URLSearchParams(location.hash.slice(1));
if (hash.get("token")) { keep("token", hash.get("token")); history.replaceState(null, "", location.pathname); }
let robot = hash.get("robot") || recall("robot");
let me = { number: 0, role: "operate" };
let state = null;
let lastState = 0;
let asked = 0;
const answers = new Map();

const scheme = location.protocol === "https:" ? "wss" : "ws";
const socketAt = (path) => new WebSocket(`${scheme}://${location.host}/${path}`);

class Line {
  // One socket that comes back by itself.
  constructor(path, onMessage, hello = () => ({})) {
    Object.assign(this, { path, onMessage, hello, delay: 300 });
    this.open();
  }
  open() {
    const socket = socketAt(this.path);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.delay = 300;
      socket.send(JSON.stringify({ token: recall("token"), name: recall("name") || browserName(), number: me.number, robot, ...this.hello() }));
    };
    socket.onmessage = (event) => this.onMessage(event.data);
    socket.onclose = (event) => {
      if (event.code === 4401) return askToken();
      setTimeout(() => this.open(), this.delay);
      this.delay = Math.min(this.delay * 1.6, 3000);
    };
    this.socket = socket;
  }
  get ready() { return this.socket.readyState === WebSocket.OPEN; }
  send(value) { if (this.ready) this.socket.send(JSON.stringify(value)); return this.ready; }
  again() { this.socket.onclose = null; this.socket.close(); this.open(); }
}

const browserName = () => {
  const agent = navigator.userAgent;
  const device = /Android|iPhone|iPad/.test(agent) ? "phone" : /Mac/.test(agent) ? "Mac" : /Windows/.test(agent) ? "PC" : "computer";
  return recall("name") || `a ${device}`;
};

let asking = false;
const askToken = () => {
  if (asking) return;
  asking = true;
  setText($("door-why"), recall("token") ? "That token is not known here." : "This console asks for a token.");
  $("my-name").value = recall("name");
  $("door").show();  // not modal: STOP stays within reach
};
$("door").addEventListener("close", () => {
  keep("token", $("token").value.trim());
  keep("name", $("my-name").value.trim());
  asking = false;
  [stopLine, live, pictures].forEach((line) => line.again());
});

// --- stop ---------------------------------------------------------------------------------------

const UNSURE_MS = 1500;  // without an answer: a network that was cut takes what is sent and says nothing
let unsure = 0;
const stopLine = new Line("stop", (text) => {
  const message = JSON.parse(text);
  if (message.stopped === undefined) return;
  clearTimeout(unsure);
  toast(message.words, message.words !== "stop sent");
});
const stop = () => {
  $("stop").classList.add("in");
  letGo();
  clearTimeout(unsure);
  unsure = setTimeout(() => toast("THE STOP WAS NOT CONFIRMED: use the robot's own emergency stop", true), UNSURE_MS);
  if (stopLine.send({ stop: true, robot })) return;
  fetch(`stop?robot=${encodeURIComponent(robot)}`, { method: "POST", headers: { Authorization: `Bearer ${recall("token")}` } })
    .then((answer) => { if (!answer.ok) throw new Error(); clearTimeout(unsure); toast("stop sent", false); })
    .catch(() => toast("THE STOP WAS NOT SENT: use the robot's own emergency stop", true));
};
$("stop").addEventListener("click", stop);
const typing = (element) => element && (element.matches("input, select, textarea") || element.isContentEditable);
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const pressable = event.target.closest && event.target.closest("button, a, summary");
  if (event.key === "Escape" || (event.key === " " && !typing(event.target) && !pressable)) {
    event.preventDefault();
    stop();
  }
}, true);

// --- leading by hand ----------------------------------------------------------------------------

// What is held down now is said as the answer to each beat of the console, which lets go when answers stop.
const held = { deadman: new Set(), jog: new Map() };
let leading = null;
const letGo = () => { held.deadman.clear(); held.jog.clear(); showHeld(); };
const showHeld = () => {
  $("deadman").classList.toggle("on", held.deadman.size > 0);
  for (const button of document.querySelectorAll("#jog button")) button.classList.toggle("on", held.jog.get(button.dataset.joint) === Number(button.dataset.way));
};
const lead = () => {
  if (leading) return leading.close();
  const socket = leading = socketAt("lead");
  letGo();
  socket.onopen = () => socket.send(JSON.stringify({ token: recall("token"), number: me.number, robot }));
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.refused) return toast(message.refused, true);
    const jog = Object.fromEntries(held.jog);
    socket.send(JSON.stringify({ beat: message.beat, held: held.deadman.size > 0 && !document.hidden, jog }));
  };
  socket.onclose = () => { if (leading === socket) leading = null; letGo(); if (state) drawTakeover(); };
  drawTakeover();
};
$("lead").onclick = lead;
const holdable = (button, down, up) => {  // by pointers, several at a time, and by the keys of a button
  button.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    button.setPointerCapture(event.pointerId);
    down("pointer"); showHeld();
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) button.addEventListener(name, () => { up("pointer"); showHeld(); });
  button.addEventListener("blur", () => { up("key"); showHeld(); });
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  const key = (event) => event.key === " " || event.key === "Enter";
  button.addEventListener("keydown", (event) => { if (key(event)) { event.preventDefault(); if (!event.repeat) { down("key"); showHeld(); } } });
  button.addEventListener("keyup", (event) => { if (key(event)) { event.preventDefault(); up("key"); showHeld(); } });
};
holdable($("deadman"), (how) => held.deadman.add(how), (how) => held.deadman.delete(how));
document.addEventListener("keydown", (event) => {
  if (event.code !== "KeyH" || event.repeat || event.ctrlKey || event.altKey || event.metaKey || !leading || typing(event.target)) return;
  held.deadman.add("H"); showHeld();
});
document.addEventListener("keyup", (event) => { if (event.code === "KeyH") { held.deadman.delete("H"); showHeld(); } });
window.addEventListener("blur", letGo);
document.addEventListener("visibilitychange", letGo);
const jogButton = (joint, way) => {
  const button = make("button", { type: "button", "aria-label": `${joint.replace("/", " ")} ${way > 0 ? "plus" : "minus"}`, "data-joint": joint, "data-way": way }, way > 0 ? "+" : "−");
  holdable(button, () => held.jog.set(joint, way), () => held.jog.delete(joint));
  return button;
};
const drawTakeover = () => {
  const { control, takeover } = state;
  $("takeover-card").hidden = !takeover;
  if (!takeover) return;
  const page = takeover.page, ages = control.ages || {};
  const who = control.source !== "human" ? "" : page && page.held ? `${page.by} leads the arms from the page.` : "A person leads the arms.";
  setText($("takeover-now"), who || (control.takeover ? `The person has let go: ${control.meaning || "the arms hold"}.`
    : control.source === "policy" ? "The policy has the arms." : "Nobody moves the arms."));
  const age = (value) => (value === undefined ? "never heard" : value > 5 ? "silent" : ms(value));
  const quiet = page && !leading && !control.takeover;  // nobody is meant to be heard
  setText($("takeover-ages"), quiet ? "" : `dead-man ${age(ages.deadman)} · leader ${age(ages.leader)}`);
  $("lead").hidden = !page;
  $("leading").hidden = !leading;
  setText($("lead"), leading ? "End leading" : page && page.by ? `${page.by} has the leader` : "Lead by hand from this page");
  $("lead").disabled = me.role !== "operate" || Boolean(page && page.by && !leading);
  const key = page ? page.joints.join() : "";
  if (drawn.jog === key) return;
  drawn.jog = key;
  const arms = new Map();
  for (const joint of page ? page.joints : []) {
    const [arm, short] = joint.split("/");
    if (!arms.has(arm)) arms.set(arm, make("div", {}, make("h3", {}, `${arm} arm`)));
    arms.get(arm).append(make("div", { class: "jog", role: "group", "aria-label": joint.replace("/", " ") }, jogButton(joint, -1), make("span", {}, short.replaceAll("_", " ")), jogButton(joint, 1)));
  }
  $("jog").replaceChildren(...arms.values());
};

// --- orders -------------------------------------------------------------------------------------

const act = (what, values = {}) => new Promise((resolve) => {
  const id = ++asked;
  if (!live.send({ act: what, id, ...values })) {
    toast("not sent: the page has no connection", true);
    return resolve({ ok: false });
  }
  answers.set(id, resolve);
});
const order = async (what, values, button) => {
  if (button) button.setAttribute("aria-busy", "true");
  const answer = await act(what, values);
  if (button) button.removeAttribute("aria-busy");
  if (answer.words && what !== "doctor") toast(answer.words, !answer.ok);
  return answer;
};
let toastTimer = 0;
const toast = (words, bad) => {
  setText($("toast"), words);
  $("toast").className = bad ? "show bad" : "show";
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").className = ""; }, bad ? 8000 : 3500);
};

$("let-out").onclick = (event) => order("let_out", {}, event.currentTarget);
$("reset").onclick = (event) => order("reset", {}, event.currentTarget);
$("resume").onclick = (event) => order("resume", {}, event.currentTarget);
$("cancel").onclick = (event) => order("cancel", {}, event.currentTarget);
const sentence = () => $("sentence").value.trim();
$("goal-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (state && state.goal.running) return order("instruct", { instruction: sentence() });
  order("start", {
    instruction: sentence(), max_duration: Number($("limit").value),
    stop_on_success: !$("success-label").hidden && $("on-success").checked,
  }, $("start"));
});
$("change").onclick = () => order("instruct", { instruction: sentence() }, $("change"));
for (const [id, values] of Object.entries({
  "rec-start": { command: "start" }, "rec-good": { command: "stop", success: true },
  "rec-bad": { command: "stop", success: false }, "rec-discard": { command: "discard" },
})) $(id).onclick = (event) => order("record", { ...values, notes: $("rec-notes").value }, event.currentTarget);
$("scene").onclick = (event) => order("scene", { task: $("task").value, seed: Number($("seed").value) }, event.currentTarget);
$("scale").addEventListener("input", () => setText($("scale-out"), `${$("scale").value} %`));
$("scale").addEventListener("change", () => order("speed", { scale: Number($("scale").value) / 100 }));
$("robot").addEventListener("change", () => {
  robot = $("robot").value; keep("robot", robot);
  if (leading) leading.close();
  live.send({ look: robot }); pictures.again();
  $("events").replaceChildren(); drawn.joints = drawn.cameras = drawn.jog = "";
});
for (const tab of document.querySelectorAll(".tab")) tab.onclick = () => {
  for (const other of document.querySelectorAll(".tab")) other.setAttribute("aria-pressed", other === tab);
  $("operate").hidden = tab.dataset.page !== "operate";
  $("doctor").hidden = tab.dataset.page !== "doctor";
};
$("examine").onclick = async () => {
  $("examine").disabled = true;
  setText($("findings"), "listening …");
  const answer = await order("doctor", {});
  $("examine").disabled = false;
  if (!answer.ok) return setText($("findings"), answer.words || "no answer");
  const report = JSON.parse(answer.words);
  const counts = Object.entries(report.counts).map(([outcome, count]) => `${count} ${outcome}`).join(", ");
  const order_ = { fail: 0, warn: 1, unchecked: 2, ok: 3 };
  const checks = [...report.checks].sort((a, b) => order_[a.outcome] - order_[b.outcome]);
  $("findings").replaceChildren(make("p", {}, counts), ...checks.map((check) => finding(check.outcome, `${check.area}: ${check.name}`, check.text)));
};
const finding = (level, head, text) => make("div", { class: "finding" }, make("span", { class: `mark ${level}` }, level), make("div", {}, make("strong", {}, head), make("div", {}, text)));

// --- what comes ---------------------------------------------------------------------------------

const drawn = { joints: "", cameras: "" };
const live = new Line("live", (text) => {
  const message = JSON.parse(text);
  if (message.you) {
    for (const resolve of answers.values()) resolve({ ok: false, words: "the connection was lost: look whether it was done" });
    answers.clear();
    me = message.you; drawRobots(message.robots); stopLine.send({ number: me.number });
  }
  if (message.answer !== undefined && answers.has(message.answer)) {
    answers.get(message.answer)(message);
    answers.delete(message.answer);
  }
  if (message.state) {
    state = message.state; lastState = performance.now();
    drawEvents(message.events); drawPeople(message.people); draw();
  }
});
const drawRobots = (robots) => {
  if (!robots.some(([name]) => name === robot)) { robot = robots[0][0]; pictures.again(); }
  $("robot").replaceChildren(...robots.map(([name, profile]) => make("option", { value: name }, name === "/" ? profile : `${name} (${profile})`)));
  $("robot").value = robot;
};

const MODES = { running: "RUNNING", hold: "HOLDING", estop: "STOPPED", inactive: "NOT ACTIVE", unknown: "NO ROBOT", lost: "CONTROL IS SILENT" };
const draw = () => {
  const { control, policy, goal, task } = state;
  const mode = control.heard ? control.mode : control.mode === "unknown" ? "unknown" : "lost";
  document.body.dataset.mode = mode;
  document.body.dataset.human = control.source === "human";
  setText($("mode"), MODES[mode]);
  setText($("why"), why(mode, control, policy));
  setText($("do"), mode === "lost" ? "Look at control_node. Use the robot's own stop if the arms move." : control.do || "");
  $("shadow").hidden = !control.shadow;
  $("source").hidden = control.source !== "human";
  $("resume").hidden = !["takeover_released", "deadman_lost"].includes(control.cause);
  setText($("speed"), `speed ${percent(control.speed_scale)}`);
  $("speed").classList.toggle("slow", control.speed_scale !== null && control.speed_scale < 1);
  if (document.activeElement !== $("scale") && control.speed_scale) {
    $("scale").value = control.speed_scale * 100; setText($("scale-out"), percent(control.speed_scale));
  }
  drawTiles(control, policy);
  drawStop(mode);
  drawGoal(goal, policy, task);
  drawScene(task);
  drawTakeover();
  drawRecording(state.recording);
  drawCameras(state.cameras);
  drawJoints(control.joints || []);
  drawInputs(control, policy);
  drawLatency(control, policy);
  drawExperts(policy.experts || []);
  $("diagnostics").replaceChildren(...state.diagnostics.map((row) => finding(row.age > 5 ? "stale" : row.level, row.name, row.message)));
  const looking = me.role !== "operate";
  for (const id of ["start", "change", "cancel", "let-out", "reset", "resume", "rec-start", "rec-good", "rec-bad", "rec-discard", "scene", "scale", "examine"])
    if (looking) $(id).disabled = true;
  $("scale").disabled = looking;
};
const why = (mode, control, policy) => {
  if (mode === "unknown") return "No control_node has been heard yet.";
  if (mode === "lost") return `Nothing was heard of control_node for ${clock(control.age || 0)}.`;
  if (mode === "inactive") return "control_node is there and commands nothing. Activate it.";
  if (mode === "running") return control.source === "human" ? `The arms follow ${state.takeover.page && state.takeover.page.held ? "the page's leader" : "the leader arms"}.` : `The arms follow the policy, which ${policy.words}.`;
  return control.meaning + (control.detail ? `: ${control.detail}` : "");
};
const drawStop = (mode) => {
  const stopped = mode === "estop";
  $("stopped").hidden = !stopped;
  $("stop").classList.toggle("in", stopped);
  const inside = state.buttons.length ? `button in: ${state.buttons.join(", ")}` : "latched";
  setText($("stop-word"), stopped ? "STOPPED" : "STOP");
  setText($("stop-keys"), stopped ? inside : "Esc or Space");
  $("stop").setAttribute("aria-label", stopped ? `Stopped, ${inside}. Press to stop again` : "Stop the robot. Keys: Escape or Space");
  $("let-out").hidden = !stopped;
  $("let-out").disabled = $("reset").disabled = false;
};
const drawGoal = (goal, policy, task) => {
  const running = goal.running;
  $("start").hidden = running; $("change").hidden = !running;
  $("start").disabled = $("change").disabled = false;
  $("cancel").disabled = !running;
  $("success-label").hidden = !task;
  const key = JSON.stringify([state.history, state.sentences]);
  if (drawn.history !== key) {
    drawn.history = key;
    const use = (text) => () => { $("sentence").value = text; $("sentence").focus(); };
    $("history").replaceChildren(...state.history.slice(0, 6).map((text) => make("button", { type: "button", onclick: use(text) }, text)));
    $("sentences").replaceChildren(...[...new Set([...state.history, ...state.sentences])].map((value) => make("option", { value })));
    if (!$("sentence").value && state.sentences.length) $("sentence").value = state.sentences[0];
  }
  const now = $("goal-now");
  if (!goal.instruction) return setText(now, `The policy ${policy.words}.`);
  const figures = `${clock(goal.elapsed || 0)}${goal.limit ? ` of ${clock(goal.limit)}` : ""} · ${goal.chunks || 0} chunk${goal.chunks === 1 ? "" : "s"}`;
  const children = [make("b", {}, `“${goal.instruction}”`), make("div", {}, running ? `${policy.words} · ${figures}` : figures)];
  if (running && goal.limit) children.push(make("div", { class: "bar" }, make("i", { style: `width:${Math.min(100, 100 * goal.elapsed / goal.limit)}%` })));
  if (running && task && task.success) children.push(make("div", { class: "good" }, "success"));
  if (!running && goal.result) children.push(make("div", { class: goal.code < 100 ? "good" : "bad" }, goal.result));
  now.replaceChildren(...children);
};
const drawScene = (task) => {
  $("scene-card").hidden = !task;
  if (!task) return;
  setText($("scene-now"), `${task.task}, seed ${task.seed}${task.ever_success ? ", success" : ""}`);
  const names = state.tasks.length ? state.tasks : [task.task];
  const key = names.join();
  if (drawn.tasks !== key) {
    drawn.tasks = key;
    $("task").replaceChildren(...names.map((name) => make("option", {}, name)));
    $("task").value = task.task;
  }
  $("scene").disabled = state.goal.running;
};
const gigabytes = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
const drawRecording = (recording) => {
  const on = recording.there && recording.episode;
  $("recording").classList.toggle("on", Boolean(on));
  setText($("recording"), !recording.there ? "No recorder_node runs for this robot." : on
    ? `${recording.episode} · ${clock(Number(recording["elapsed (s)"]))} · ${recording.messages} messages · ${(recording.bytes / 1e6).toFixed(0)} MB${Number(recording.dropped) ? ` · ${recording.dropped} LOST` : ""}`
    : recording.message);
  setText($("disk"), recording.there ? `${gigabytes(Number(recording["free (bytes)"]))} left on the disk` : "");
  $("rec-start").disabled = !recording.there || Boolean(on);
  $("rec-good").disabled = $("rec-bad").disabled = !on;
  $("rec-discard").disabled = !recording.there || !(on || recording.last);
  setText($("rec-discard"), on ? "Discard" : "Discard the last");
};

// --- pictures -----------------------------------------------------------------------------------

let view = "raw";
const shown = [];
const pictures = new Line("pictures", (data) => {
  const bytes = new Uint8Array(data, 0, 2);
  const place = shown[bytes[0]];
  if (!place || place.busy) return;
  place.busy = true;
  createImageBitmap(new Blob([new Uint8Array(data, 2)], { type: "image/jpeg" })).then((bitmap) => {
    const { canvas } = place;
    if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) { canvas.width = bitmap.width; canvas.height = bitmap.height; }
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    place.at = performance.now(); place.count += 1;
    place.figure.className = bytes[1] ? "model" : "";
    canvas.setAttribute("aria-label", `${place.slot}, ${bytes[1] ? "as the model sees it" : "as it comes"}`);
  }).finally(() => { place.busy = false; });
}, () => ({ view }));
for (const button of document.querySelectorAll("[data-view]")) button.onclick = () => {
  view = button.dataset.view;
  for (const other of document.querySelectorAll("[data-view]")) other.setAttribute("aria-pressed", other === button);
  pictures.send({ view });
};
document.addEventListener("visibilitychange", () => pictures.send(document.hidden ? { pause: true } : { view }));
const drawCameras = (cameras) => {
  const key = cameras.map((camera) => camera.slot).join();
  if (drawn.cameras !== key) {
    drawn.cameras = key;
    shown.length = 0;
    for (const { slot, width, height } of cameras) {
      const canvas = make("canvas", { role: "img", "aria-label": slot, width, height });
      const rate = make("span", {});
      shown.push({ slot, canvas, rate, at: 0, count: 0, busy: false, figure: make("figure", {}, canvas, make("figcaption", {}, make("span", {}, slot), rate)) });
    }
    $("cameras").replaceChildren(...shown.map((place) => place.figure));
    document.querySelector("[data-view=model]").disabled = !state.model_pictures;
  }
};
setInterval(() => {
  const now = performance.now();
  for (const place of shown) {
    const old = now - place.at > 1500;
    place.figure.classList.toggle("old", old);
    setText(place.rate, old ? (place.at ? "STANDS STILL" : "no picture") : `${place.count} Hz`);
    place.count = 0;
  }
}, 1000);

// --- figures ------------------------------------------------------------------------------------

const rows = new Map();
const clipsBefore = new Map();
const drawJoints = (joints) => {
  const key = joints.map((joint) => joint.name).join();
  if (drawn.joints !== key) {
    drawn.joints = key; rows.clear();
    const arms = new Map();
    for (const { name } of joints) {
      const [arm, short] = name.includes("/") ? name.split("/") : ["arm", name];
      const row = { measured: make("i", { class: "measured" }), commanded: make("i", { class: "commanded" }), value: make("span", { class: "value" }) };
      row.element = make("div", { class: "joint" }, make("span", { class: "name" }, short), make("div", { class: "track" }, row.measured, row.commanded), row.value);
      rows.set(name, row);
      if (!arms.has(arm)) arms.set(arm, make("div", {}, make("h3", {}, `${arm} arm`)));
      arms.get(arm).append(row.element);
    }
    $("joints").replaceChildren(...arms.values());
  }
  for (const joint of joints) {
    const row = rows.get(joint.name);
    const range = joint.low === null ? null : joint.high - joint.low;
    const place = (value) => (value === null || !range ? "-9%" : `${Math.min(100, Math.max(0, 100 * (value - joint.low) / range))}%`);
    row.measured.style.left = place(joint.measured); row.commanded.style.left = place(joint.commanded);
    const off = joint.commanded !== null && joint.measured !== null ? joint.commanded - joint.measured : null;
    const total = Object.values(joint.clips).reduce((a, b) => a + b, 0);
    setText(row.value, `${fixed(joint.measured)} ${off === null ? "" : `Δ ${off >= 0 ? "+" : "−"}${Math.abs(off).toFixed(3)}`}`);
    const before = clipsBefore.get(joint.name) || { total, at: -1e9 };
    const at = total > before.total ? performance.now() : before.at;
    clipsBefore.set(joint.name, { total, at });
    row.element.classList.toggle("limited", performance.now() - at < 1500);
    row.element.title = `limits ${fixed(joint.low)} … ${fixed(joint.high)}; limited: ${Object.entries(joint.clips).map(([kind, count]) => `${kind} ${count}`).join(", ")} ticks`;
  }
};
const drawInputs = (control, policy) => {
  const body = [];
  const row = (name, age, rate, delay, limit) => {
    const level = age === null || age === undefined ? "bad" : age > limit ? "bad" : age > limit / 2 ? "warn" : "";
    body.push(make("tr", {}, make("td", {}, name), make("td", { class: level }, age === null || age === undefined ? "never" : ms(age)), make("td", {}, rate ? `${fixed(rate, 0)} Hz` : ""), make("td", {}, delay === undefined ? "" : ms(delay))));
  };
  for (const input of state.inputs) row(input.name, input.age, input.rate, input.delay, 0.5);
  const ages = control.ages || {};
  const names = { state: "joint states at control", policy: "policy's heartbeat at control", chunk: "chunk at control", command: "observation behind the command", leader: "leader arms", deadman: "dead-man switch" };
  for (const [key, name] of Object.entries(names)) if (key in ages) row(name, ages[key], 0, undefined, key === "state" || key === "policy" || (key === "leader" || key === "deadman" ? control.takeover : state.goal.running) ? 2 : 1e9);
  if (policy.heard !== undefined) row("policy_node", policy.age, 0, undefined, 2);
  row("control_node", control.age, 0, undefined, 1);
  $("inputs").replaceChildren(...body);
};
const drawTiles = (control, policy) => {
  const oldest = state.inputs.reduce((a, b) => ((b.age ?? 99) > (a.age ?? 99) ? b : a), state.inputs[0] || {});
  setText($("tile-input"), ms(oldest.age)); setText($("tile-input-name"), oldest.name || "none heard");
  const [, , p50, p95] = (policy.stages || []).find(([name]) => name === "stamp_to_chunk") || [];
  setText($("tile-latency"), ms(p50)); setText($("tile-latency-name"), p95 === undefined ? "no chunk yet" : `p95 ${ms(p95)}`);
  setText($("tile-jitter"), ms(control.jitter_p99)); setText($("tile-jitter-name"), control.rate ? `p99, at ${fixed(control.rate, 0)} Hz` : "");
};
const jitter = [];
const drawLatency = (control, policy) => {
  setText($("device"), policy.device ? `${policy.device} · ${((policy.memory || 0) / 2 ** 20).toFixed(0)} MiB` : "");
  const stages = policy.stages || [];
  const longest = Math.max(1e-6, ...stages.map(([, , , p95]) => p95 || 0));
  $("stages").replaceChildren(...stages.map(([name, last, p50, p95, p99]) => make("div", { class: "stage", title: `last ${ms(last)}, p99 ${ms(p99)}` }, make("span", {}, name.replaceAll("_", " ")),
    make("div", { class: "meter" }, make("i", { style: `width:${100 * (p50 || 0) / longest}%` }), make("b", { style: `left:${Math.min(99, 100 * (p95 || 0) / longest)}%` })), make("span", { class: "value" }, `${ms(p50)} · p95 ${ms(p95)}`))));
  if (!stages.length) setText($("stages"), "no inference yet");
  if (control.mode === "unknown") return;
  setText($("timing"), `${fixed(control.rate, 1)} Hz · jitter p99 ${ms(control.jitter_p99)} of ${ms(control.period)} · ${control.missed} missed ticks · ${control.accepted} chunks followed, ${control.rejected} refused, ${control.late} late`);
  jitter.push(control.jitter_p99 || 0);
  if (jitter.length > 480) jitter.shift();
  const top = Math.max(control.period / 2, ...jitter);
  $("jitter").firstElementChild.setAttribute("points", jitter.map((value, index) => `${(300 * index / 479).toFixed(1)},${(46 - 44 * value / top).toFixed(1)}`).join(" "));
};
const drawExperts = (layers) => {
  if (!layers.length) return setText($("experts"), state.policy.heard ? "No inference yet, or a dense model." : "");
  const cells = (layer) => layer.selected.map((share) => make("td", { style: `background:rgb(${Math.round(18 + 6 * share)} ${Math.round(48 + 54 * share)} ${Math.round(64 + 92 * share)})` }, percent(share)));
  const count = Math.max(...layers.map((layer) => layer.selected.length));
  const head = make("tr", {}, make("th", {}, "layer"), ...Array.from({ length: count }, (_, index) => make("td", {}, `${index + 1}`)));
  $("experts").replaceChildren(make("table", {}, make("tbody", {}, head, ...layers.map((layer) => make("tr", {}, make("td", { class: "layer" }, `${layer.layer + 1}`), ...cells(layer))))));
};
const drawEvents = (events) => {
  for (const event of events) {
    const time = new Date(event.time * 1e3).toLocaleTimeString([], { hour12: false });
    $("events").prepend(make("div", { class: event.level }, make("time", {}, time), make("span", {}, event.text)));
  }
  while ($("events").childElementCount > 100) $("events").lastElementChild.remove();
};
const drawPeople = (people) => {
  const others = people.filter((person) => person.number !== me.number);
  const busy = people.filter((person) => person.operating);
  const chip = $("people");
  chip.classList.toggle("two", busy.length > 1);
  const mine = me.role === "operate" ? "you may operate" : "you look on (stop works)";
  setText(chip, busy.length > 1 ? `${busy.length} PEOPLE OPERATE: ${busy.map((p) => `${p.name} #${p.number}`).join(", ")}`
    : others.length ? `${mine} · also here: ${others.map((p) => `${p.name} #${p.number}${p.operating ? " (operates)" : ""}`).join(", ")}` : mine);
};
let tried = 0;
setInterval(() => {
  const now = performance.now(), gone = now - lastState > 1500;
  if (lastState && now - Math.max(lastState, tried) > 5000) {  // open and silent: the network was cut
    tried = now;
    for (const line of [stopLine, live, pictures]) if (line.socket.readyState <= WebSocket.OPEN) line.again();
  }
  $("lost").hidden = !gone || !lastState;
  const chip = $("link");
  chip.className = gone ? "chip bad" : "chip good";
  setText(chip, gone ? "no connection" : "connected");
  if (gone && lastState) document.body.dataset.mode = "lost";
}, 250);
