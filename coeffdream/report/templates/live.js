// While the training lives its page is written again and again; this one looks for the next.
{
  const live = document.querySelector("[data-refresh]");
  if (live) {
    const follow = document.getElementById("follow");
    const seconds = () => Math.max(0, Math.round(Date.now() / 1000 - live.dataset.written));
    const tick = () => {
      const age = seconds();
      document.getElementById("age").textContent = age < 90 ? `written ${age} s ago` : `written ${Math.round(age / 60)} min ago`;
      document.getElementById("stale").hidden = age < 120;
    };
    tick();
    setInterval(tick, 1000);
    setInterval(() => {
      if (follow.checked && !document.hidden && !document.getElementById("zoom").open) location.reload();
    }, 1000 * live.dataset.refresh);
  }
}
