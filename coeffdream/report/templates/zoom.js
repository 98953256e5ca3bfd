// Zoom: a picture large, or a strip of pictures that belong together; the others of its group by arrow keys.
const zoom = document.getElementById("zoom");
const stage = zoom.querySelector(".stage");
let group = [];
let at = 0;
let opener = null;

function figure(shot, address, words, alt) {
  const made = document.createElement("figure");
  const image = document.createElement("img");
  const small = shot.querySelector("img");
  // A report that was moved away from its run still has the thumbnails.
  image.onerror = () => { image.onerror = null; image.src = small.src; };
  image.alt = alt;
  image.src = address || small.src;
  made.append(image);
  if (words.length) {
    const caption = document.createElement("figcaption");
    const name = document.createElement("b");
    name.textContent = words[0];
    caption.append(name, ...words.slice(1).map((word) => ` ${word}`));
    made.append(caption);
  }
  return made;
}

function figures(shot, inStrip) {
  const { base, name, note } = shot.dataset;
  const alt = shot.querySelector("img").alt;
  const words = inStrip ? [name, note] : base ? ["this run"] : [];
  const own = figure(shot, shot.getAttribute("href"), words, alt);
  const under = base && figure(shot, base, ["untouched base", "same seed"], `${alt}, drawn by the untouched base`);
  return under ? [own, under] : [own];
}

function show(position) {
  at = (position + group.length) % group.length;
  const step = group[at];
  const inStrip = step.matches(".strip");
  const shots = inStrip ? [...step.querySelectorAll(".shot")] : [step];
  zoom.classList.toggle("wide", step.dataset.wide !== undefined);
  zoom.classList.toggle("many", inStrip);
  stage.replaceChildren(...shots.flatMap((shot) => figures(shot, inStrip)));
  stage.scrollTop = 0;
  document.getElementById("caption").textContent = step.dataset.caption;
  document.getElementById("note").textContent = step.dataset.note;
  document.getElementById("place").textContent = `${at + 1} of ${group.length}`;
}

document.addEventListener("click", (event) => {
  const shot = event.target.closest(".shot");
  if (!shot || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  opener = shot;
  const strip = shot.closest(".strip");
  const all = shot.closest(".group").querySelectorAll(strip ? ".strip" : ".shot");
  group = [...all].filter((each) => each.offsetParent !== null);
  show(group.indexOf(strip ?? shot));
  zoom.showModal();
});
zoom.addEventListener("click", (event) => {
  if (event.target === zoom || event.target.closest("#close")) zoom.close();
  if (event.target.closest("#previous")) show(at - 1);
  if (event.target.closest("#next")) show(at + 1);
});
// A finger, too: to the left the next one, to the right the one before.
let touched = null;
stage.addEventListener("touchstart", (event) => {
  touched = event.touches.length === 1 ? event.touches[0] : null;
}, { passive: true });
stage.addEventListener("touchend", (event) => {
  if (!touched) return;
  const across = event.changedTouches[0].clientX - touched.clientX;
  const down = event.changedTouches[0].clientY - touched.clientY;
  touched = null;
  if (Math.abs(across) > 40 && Math.abs(across) > 2 * Math.abs(down)) show(at + (across < 0 ? 1 : -1));
}, { passive: true });
zoom.addEventListener("keydown", (event) => {
  const target = { ArrowLeft: at - 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowDown: at + 1, Home: 0, End: group.length - 1 }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  show(target);
});
zoom.addEventListener("close", () => {
  if (zoom.open) return; // the event comes late: another picture may have been opened since
  stage.replaceChildren();
  if (opener) opener.focus();
});
