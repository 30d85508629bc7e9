// The page is complete without this. It shows the numbers of the second under the pointer.
for (const box of document.querySelectorAll(".chart[data-chart]")) {
  const svg = box.querySelector("svg");
  const data = JSON.parse(document.getElementById(box.dataset.chart).textContent);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  line.setAttribute("class", "hover");
  line.setAttribute("y1", data.top);
  line.setAttribute("y2", data.bottom);
  const tip = document.createElement("div");
  tip.className = "tip";
  const time = (us) => us >= 1e6 ? (us / 1e6).toPrecision(3) + " s" : us >= 1000 ? (us / 1000).toPrecision(3) + " ms" : us + " µs";
  const hide = () => { line.remove(); tip.remove(); };
  const show = (event) => {
    const frame = svg.getBoundingClientRect();
    const x = (event.clientX - frame.left) / frame.width * data.width;
    if (x < data.x0 || x > data.x1) return hide();
    const at = data.from + (x - data.x0) / (data.x1 - data.x0) * (data.to - data.from);
    const rows = [(at / 1e6).toFixed(1) + " s"];
    for (const stream of data.streams) {
      const b = stream.buckets.find((b) => at >= b[0] && at < b[1]);
      if (!b) continue;
      const slow = b[2] ? "p50 " + time(b[2]) + "  p99 " + time(b[3]) + "  max " + time(b[4]) : "no good request";
      rows.push(stream.name + "  " + slow + "  " + b[5] + " good  " + b[6] + " bad");
    }
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
    svg.append(line);
    tip.textContent = rows.join("\n");
    box.append(tip);
    const home = box.getBoundingClientRect();
    const left = event.clientX - home.left + box.scrollLeft + 16;
    const room = box.scrollLeft + home.width - tip.offsetWidth - 4;
    tip.style.left = Math.max(0, Math.min(left, room)) + "px";
    tip.style.top = Math.max(0, event.clientY - home.top + 18) + "px";
  };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerleave", hide);
}
