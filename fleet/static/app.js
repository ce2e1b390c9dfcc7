// The page is server-rendered; this file only says when to fetch a part again, and draws the chart.
"use strict";

const REFRESH_MS = 250;
const DRAW_MS = 1000;
const live = document.getElementById("live");
const box = document.getElementById("throughput");
const shown = new Map(); // id of a part -> the HTML that it shows
let pending = false;
let chart = null;
let names = "";
let drawing = false;
let drawn = -DRAW_MS;

function refresh() {
  if (pending) return;
  pending = true;
  window.setTimeout(() => {
    pending = false;
    document.body.dispatchEvent(new Event("fleet-changed"));
    draw();
  }, REFRESH_MS);
}

// A part that says the same as before stays: whoever selects text in it keeps the selection.
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr } = event.detail;
  if (xhr.status !== 200) return;
  if (shown.get(target.id) === xhr.responseText) event.detail.shouldSwap = false;
  shown.set(target.id, xhr.responseText);
});

const stream = new EventSource("/api/events");
stream.onopen = () => { live.textContent = "live"; live.classList.add("on"); refresh(); };
stream.onerror = () => { live.textContent = "connection lost, trying again"; live.classList.remove("on"); };
stream.addEventListener("revision", refresh);

async function draw() {
  if (drawing || performance.now() - drawn < DRAW_MS) return;
  drawing = true;
  drawn = performance.now();
  try {
    const answer = await fetch("/api/series");
    if (answer.ok) show(await answer.json());
  } catch {
    // The server went away; the stream says so, and opens again when it is back.
  } finally {
    drawing = false;
  }
}

function show(series) {
  const data = [series.time_s, ...series.lines.map((line) => line.values)];
  const now = series.lines.map((line) => line.name).join("\n");
  if (chart !== null && now === names) {
    chart.setData(data);
    return;
  }
  if (chart !== null) chart.destroy();
  names = now;
  chart = new uPlot(options(series), data, box);
}

function options(series) {
  const style = getComputedStyle(document.documentElement);
  const colours = [1, 2, 3, 4, 5, 6].map((i) => style.getPropertyValue(`--line-${i}`));
  const grid = { stroke: style.getPropertyValue("--line"), width: 1 };
  const axis = { stroke: style.getPropertyValue("--soft"), grid, ticks: grid };
  const clock = (s) => new Date(s * 1000).toLocaleTimeString("en-GB");
  return {
    ...size(),
    axes: [
      { ...axis, space: 90, values: (_, splits) => splits.map(clock) },
      { ...axis, label: series.unit, size: 60, labelSize: 20 },
    ],
    scales: { y: { range: (_, low, high) => [0, Math.max(1, high ?? 0) * 1.15] } },
    series: [
      { label: "time", value: (_, s) => (s === null ? "–" : clock(s)) },
      ...series.lines.map((line, i) => ({
        label: line.name,
        stroke: colours[i % colours.length],
        dash: i > 0 && i % 2 === 0 ? [8, 8] : [], // where lines lie on each other, both are seen
        width: 2,
        points: { show: false },
        value: (_, rate) => (rate === null ? "–" : `${rate.toFixed(1)} /s`),
      })),
    ],
  };
}

function size() {
  return { width: box.clientWidth, height: 200 };
}

window.addEventListener("resize", () => { if (chart !== null) chart.setSize(size()); });
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  names = "\n"; // drawn anew, in the other colours
  drawn = -DRAW_MS;
  draw();
});
