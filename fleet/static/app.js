// The page is server-rendered; this file only says when to fetch a part again, and draws the chart.
"use strict";

const live = document.getElementById("live");
let pending = false;

function refresh() {
  if (pending) return;
  pending = true;
  window.setTimeout(() => {
    pending = false;
    document.body.dispatchEvent(new Event("fleet-changed"));
    draw();
  }, 250);
}

const stream = new EventSource("/api/events");
stream.onopen = () => { live.textContent = "live"; live.classList.add("on"); refresh(); };
stream.onerror = () => { live.textContent = "connection lost, trying again"; live.classList.remove("on"); };
stream.addEventListener("revision", refresh);

let chart = null;

async function draw() {
  const answer = await fetch("/api/series");
  if (!answer.ok) return;
  const series = await answer.json();
  const box = document.getElementById("throughput");
  const data = [series.time_s, ...series.lines.map((line) => line.values)];
  if (chart !== null && chart.series.length === data.length) {
    chart.setData(data);
    return;
  }
  if (chart !== null) chart.destroy();
  const colours = ["#4f5bd5", "#c2410c", "#0f8a5f", "#a21caf", "#0369a1", "#854d0e"];
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--soft");
  const grid = getComputedStyle(document.documentElement).getPropertyValue("--line");
  const axis = { stroke: ink, grid: { stroke: grid }, ticks: { stroke: grid } };
  chart = new uPlot({
    width: box.clientWidth,
    height: 180,
    axes: [axis, { ...axis, label: series.unit }],
    series: [{}, ...series.lines.map((line, i) => ({
      label: line.name, stroke: colours[i % colours.length], width: 2, spanGaps: true,
    }))],
  }, data, box);
}

window.addEventListener("resize", () => {
  const box = document.getElementById("throughput");
  if (chart !== null) chart.setSize({ width: box.clientWidth, height: 180 });
});
