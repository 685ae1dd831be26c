// One endpoint: try pictures on it, see what it costs, update and delete it.
import { ago, ask, button, confirm, dollars, fill, h, hourly, percent, pill, post, refill, say, tile } from "./dom.js";
import { Log } from "./log.js";
import { watch } from "./live.js";

const KEPT = 24;

export function open(main, name) {
  document.title = `${name} – byoc`;
  let endpoint = null, received = 0, status = "", stream = null;
  const path = `/api/predict/${encodeURIComponent(name)}`;
  const state = h("span"), said = h("p", { class: "say" }), buttons = h("p", { class: "actions" }), tiles = h("dl", { class: "tiles" });
  const activity = h("div", { class: "activity", role: "status", hidden: true });
  const answers = h("div", { class: "answers" });
  const explain = h("input", { type: "checkbox", checked: true });
  const files = h("input", { type: "file", accept: "image/*", multiple: true, id: "files", class: "unseen", onchange: () => { send([...files.files]); files.value = ""; } });
  const camera = h("div", { class: "camera", hidden: true });
  const problem = h("p", { class: "problem", role: "alert" });
  const drop = h("div", { class: "drop" },
    h("p", {}, h("strong", {}, "Drop pictures here"), ", paste one, or ", h("label", { for: "files", class: "button" }, "Choose files"), " ", files,
      button("Use the camera", useCamera)),
    h("label", { class: "check" }, explain, " show where the network looked (Grad-CAM)"), problem, camera);
  const log = new Log(`/log/endpoint/${encodeURIComponent(name)}`);

  fill(main,
    h("div", { class: "head" }, h("div", {}, h("p", { class: "over" }, "Endpoint"), h("h1", {}, name), h("p", { class: "line" }, state), said), buttons),
    tiles, activity,
    h("section", { "aria-labelledby": "try" }, h("h2", { id: "try" }, "Try it"), drop, answers),
    h("section", { "aria-labelledby": "log" }, h("h2", { id: "log" }, "Log"), log.element));

  function head() {
    refill(state, endpoint.status, () => pill(endpoint.status));
    refill(said, [endpoint.reason, endpoint.job], () => [endpoint.reason, endpoint.job ? ["It serves the model of ", h("a", { href: `/training/${encodeURIComponent(endpoint.job)}` }, endpoint.job), "."] : null]);
    const there = endpoint.status !== "Deleted";
    refill(buttons, [endpoint.status, endpoint.machine], () => [there && endpoint.status === "InService" ? h("a", { class: "button", href: `/new/deploy?${new URLSearchParams({ endpoint: name, machine: endpoint.machine })}` }, "Update the model") : null,
      there && endpoint.status !== "Deleting" ? button("Delete", remove) : null,
      there ? null : h("a", { class: "button main", href: "/new/deploy" }, "Deploy a model")]);
    drop.classList.toggle("off", endpoint.status !== "InService" && endpoint.status !== "Updating");
    if (status && status !== endpoint.status) say(`${name} is ${endpoint.status}`);
    status = endpoint.status;
    clock();
  }

  function clock() {
    if (!endpoint || endpoint.status === "Deleted") { tiles.replaceChildren(); return; }
    const cost = endpoint.cost === null || endpoint.cost === undefined ? null : endpoint.cost + ((Date.now() - received) / 3.6e6) * endpoint.hourly;
    fill(tiles, tile("Costs", endpoint.hourly === 0 ? "free" : hourly(endpoint.hourly), endpoint.hourly ? "until it is deleted" : endpoint.hourly === 0 ? "on this machine" : ""),
      tile("So far", endpoint.hourly === 0 ? "free" : dollars(cost), `created ${ago(endpoint.created)}`),
      tile("Machine", endpoint.machine, endpoint.count > 1 ? `${endpoint.count} of them` : ""),
      tile("Model", ago(endpoint.changed), endpoint.model));
  }

  async function remove() {
    const cost = endpoint.hourly ? ` It costs ${hourly(endpoint.hourly)} until then.` : "";
    if (!(await confirm(`Delete ${name}?`, `The endpoint, its configuration and its models are deleted. Jobs, data and results stay.${cost}`, "Delete it"))) return;
    await post("/api/delete", { endpoint: name });
  }

  function showActivity(item) {
    activity.hidden = !item;
    if (!item) return;
    activity.className = `activity ${item.state}`;
    fill(activity, h("strong", {}, item.state === "running" ? `${item.title} …` : item.state === "done" ? `${item.title}: done.` : `${item.title} failed: ${item.error.message}`), " ", item.error?.remedy ?? "",
      item.lines.length ? h("ul", {}, item.lines.slice(-6).map((line) => h("li", {}, line))) : null);
  }

  async function send(pictures) {
    fill(problem);
    for (const picture of pictures) await one(picture);
  }

  async function one(picture) {
    const image = h("img", { alt: "", src: URL.createObjectURL(picture) });
    const heat = h("div", { class: "heat" });
    const text = h("div", { class: "text" }, h("p", { class: "quiet" }, "asking …"));
    const card = h("article", { class: "answer" }, h("div", { class: "pictures" }, image, heat), text);
    image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < 100));
    answers.prepend(card);
    while (answers.children.length > KEPT) { URL.revokeObjectURL(answers.lastElementChild.querySelector("img").src); answers.lastElementChild.remove(); }
    const request = (query) => ask(path + query, { method: "POST", headers: { "Content-Type": picture.type || "application/octet-stream" }, body: picture });
    try {
      const answer = await request("");
      const [best] = answer.top;
      image.alt = `${picture.name}: ${best.class}`;
      fill(text, h("h3", {}, best.class, " ", h("span", { class: "quiet" }, percent(best.probability))),
        h("ul", { class: "bars" }, answer.top.map((item) => h("li", {}, h("span", {}, item.class), meter(item), h("span", { class: "n" }, percent(item.probability))))),
        h("p", { class: "small quiet" }, `${picture.name ?? "picture"}, ${Math.round(answer.milliseconds)} ms`, answer.model?.precision ? `, ${answer.model.precision}` : ""));
      say(`${picture.name}: ${best.class}, ${percent(best.probability)}`);
    } catch (error) {
      fill(text, h("p", { class: "problem" }, h("strong", {}, error.message), " ", error.remedy ?? ""), h("p", { class: "small quiet" }, picture.name ?? ""));
      say(`${picture.name}: ${error.message}`);
      return;
    }
    if (!explain.checked) return;
    // A request of its own, so that the time of the first is that of a plain answer.
    try {
      const { explanation } = await request("?explain=1");
      const seen = h("img", { alt: `Where the network saw ${explanation.class}`, src: `data:image/png;base64,${explanation.png}` });
      seen.addEventListener("load", () => seen.classList.toggle("tiny", seen.naturalWidth < 100));
      fill(heat, seen);
    } catch (error) {
      text.append(h("p", { class: "small quiet" }, `No Grad-CAM: ${error.message}`));
    }
  }

  function meter(item) {
    const bar = h("span", { class: "meter", "aria-hidden": "true" }, h("span"));
    bar.firstChild.style.width = `${Math.max(1, 100 * item.probability)}%`;
    return bar;
  }

  async function useCamera() {
    if (!navigator.mediaDevices?.getUserMedia) throw { message: "This browser gives no camera to this page.", remedy: "" };
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      throw { message: `The camera cannot be used: ${error.message}.`, remedy: "Allow it for this page in the browser." };
    }
    const video = h("video", { autoplay: true, muted: true, playsinline: true, "aria-label": "The camera's picture" });
    video.srcObject = stream;
    camera.hidden = false;
    fill(camera, video, h("p", { class: "actions" }, button("Take a picture", () => take(video), "main"), button("Switch it off", stopCamera)));
  }

  async function take(video) {
    const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    if (!blob) throw { message: "The camera has no picture yet.", remedy: "Try again in a moment." };
    await one(new File([blob], "camera.jpg", { type: "image/jpeg" }));
  }

  function stopCamera() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    camera.hidden = true;
    camera.replaceChildren();
  }

  const over = (event) => { event.preventDefault(); drop.classList.toggle("over", event.type === "dragover"); };
  const dropped = (event) => {
    over(event);
    const pictures = [...(event.dataTransfer?.files ?? [])];
    if (pictures.length) send(pictures);
    else fill(problem, "Only files can be dropped here.");
  };
  const pasted = (event) => { const pictures = [...(event.clipboardData?.files ?? [])]; if (pictures.length) send(pictures); };
  const events = [["dragover", over], ["dragleave", over], ["drop", dropped]];
  for (const [kind, handler] of events) main.addEventListener(kind, handler);
  document.addEventListener("paste", pasted);
  const timer = setInterval(clock, 5000);
  const end = watch(`/live/endpoint/${encodeURIComponent(name)}`, (documents, changed, lines, fresh) => {
    if (changed.has("endpoint")) { endpoint = documents.get("endpoint"); received = Date.now(); head(); }
    if (changed.has("activity")) showActivity(documents.get("activity"));
    log.add(lines, fresh);
  });
  return () => {
    end();
    clearInterval(timer);
    stopCamera();
    for (const [kind, handler] of events) main.removeEventListener(kind, handler);
    document.removeEventListener("paste", pasted);
  };
}
