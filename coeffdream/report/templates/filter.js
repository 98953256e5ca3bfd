"use strict";
// Filter by words of the prompt, and on a study's page by concept.
const box = document.getElementById("filter");
if (box) {
  const rows = [...document.querySelectorAll(".prompt")];
  const concepts = [...document.querySelectorAll(".concept")];
  const count = document.getElementById("count");
  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = box.form.querySelector("[name=concept]:checked")?.value ?? "";
    let shown = 0;
    for (const row of rows) {
      const here = !chosen || row.closest(".concept").dataset.concept === chosen;
      row.hidden = !here || !words.every((word) => row.dataset.prompt.toLowerCase().includes(word));
      shown += !row.hidden;
    }
    for (const concept of concepts) concept.hidden = !concept.querySelector(".prompt:not([hidden])");
    count.textContent = words.length || chosen ? `${shown} of ${rows.length} prompts` : `${rows.length} prompts`;
    document.getElementById("nothing").hidden = shown > 0;
  };
  box.form.addEventListener("submit", (event) => event.preventDefault());
  box.form.addEventListener("input", apply);
  apply();
}
