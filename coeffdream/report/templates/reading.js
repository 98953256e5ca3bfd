// Sections: the bar names the one that is being read.
{
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const sections = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const mark = () => {
    const line = innerHeight / 3;
    const ended = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
    const read = ended ? sections.at(-1) : sections.filter((each) => each.getBoundingClientRect().top <= line).at(-1) ?? sections[0];
    for (const [id, link] of links) {
      if (id !== read.id) link.removeAttribute("aria-current");
      else if (!link.hasAttribute("aria-current")) {
        link.setAttribute("aria-current", "location");
        const bar = link.parentElement;
        bar.scrollTo({ left: link.offsetLeft - (bar.clientWidth - link.offsetWidth) / 2 });
      }
    }
  };
  if (sections.length) {
    addEventListener("scroll", mark, { passive: true });
    addEventListener("resize", mark);
    mark();
  }
}

// Tables say on which side there is more of them.
for (const table of document.querySelectorAll(".scroll")) {
  const mark = () => {
    const more = table.scrollWidth - table.clientWidth;
    table.classList.toggle("more-left", table.scrollLeft > 1);
    table.classList.toggle("more-right", table.scrollLeft < more - 1);
  };
  table.addEventListener("scroll", mark, { passive: true });
  new ResizeObserver(mark).observe(table);
}

// The untouched base beneath the pictures: one slider for all of them.
for (const slider of document.querySelectorAll(".wipe input")) {
  const pictures = slider.closest("section").querySelector(".first");
  const cut = () => {
    const share = Number(slider.value);
    pictures.style.setProperty("--cut", `${share}%`);
    pictures.classList.toggle("cutting", share > 0 && share < 100);
    slider.setAttribute("aria-valuetext", share === 100 ? "this run" : share === 0 ? "untouched base" : `${share} % this run`);
  };
  slider.addEventListener("input", cut);
  cut();
}

// Commands are copied with a button.
for (const block of document.querySelectorAll(".command")) {
  const text = block.querySelector("pre").textContent;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy ${text.split("\n")[0].slice(0, 60)}`);
  const said = (word) => {
    button.textContent = word;
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      said("Copied");
    } catch {
      getSelection().selectAllChildren(block.querySelector("pre"));
      said(document.execCommand("copy") ? "Copied" : "Selected");
    }
  });
  block.append(button);
}
