// Unpacks plotly, the figures and the sources, which stand compressed in this page, and draws.
"use strict";
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%:()*+-;,=.?@^_`{|}~";

function unbase85(text) {
  const value = new Uint8Array(128), padding = (5 - text.length % 5) % 5;
  for (let i = 0; i < 85; i++) value[ALPHABET.charCodeAt(i)] = i;
  const padded = text + "~".repeat(padding), bytes = new Uint8Array(padded.length / 5 * 4), view = new DataView(bytes.buffer);
  for (let i = 0, at = 0; i < padded.length; i += 5, at += 4) {
    let number = 0;
    for (let j = 0; j < 5; j++) number = number * 85 + value[padded.charCodeAt(i + j)];
    view.setUint32(at, number);
  }
  return bytes.subarray(0, bytes.length - padding);
}

async function unpack(id) {
  const bytes = unbase85(document.getElementById(id).textContent.trim());
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

const dark = matchMedia("(prefers-color-scheme: dark)");

function colours(isDark) {  // of what a figure leaves to the page
  const [ink, line] = isDark ? ["#d7dde4", "#38424e"] : ["#1c2430", "#dde2e8"];
  return { ink, line };
}

function themed(layout, isDark) {
  const { ink, line } = colours(isDark), change = { "font.color": ink };
  for (const axis of Object.keys(layout).filter(name => /^[xy]axis\d*$/.test(name)))
    Object.assign(change, { [`${axis}.gridcolor`]: line, [`${axis}.zerolinecolor`]: line, [`${axis}.linecolor`]: line });
  return change;
}

const plots = () => document.querySelectorAll(".js-plotly-plot");

function retheme(isDark) {
  for (const one of plots()) if (one.dataset.themed) Plotly.relayout(one, themed(one.layout, isDark));
}

async function draw() {
  const [code, data] = await Promise.all([unpack("packed-plotly"), unpack("packed-data").then(JSON.parse)]);
  const script = document.createElement("script");
  script.textContent = code;
  document.head.append(script);
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  for (const [id, figure] of Object.entries(data.figures)) {
    const one = document.getElementById(id);
    await Plotly.newPlot(one, figure.data, figure.layout, config);
  }
  retheme(dark.matches);
  for (const button of document.querySelectorAll("button[data-candidate]"))
    button.addEventListener("click", () => toggle(button, data.sources[button.dataset.candidate]));
  document.body.dataset.drawn = "yes";
}

function toggle(button, texts) {
  const row = button.closest("tr"), next = row.nextElementSibling;
  if (next && next.classList.contains("opened")) { next.remove(); return; }
  const opened = row.parentElement.insertRow(row.sectionRowIndex + 1), cell = opened.insertCell();
  opened.className = "opened";
  cell.colSpan = row.cells.length;
  for (const [title, text] of texts) {
    const head = document.createElement("h3"), pre = document.createElement("pre");
    head.textContent = title;
    for (const line of text.split("\n")) {
      const span = document.createElement("span");
      if (title.startsWith("against") && "+-@".includes(line[0])) span.className = { "+": "gi", "-": "gd", "@": "gu" }[line[0]];
      span.textContent = line + "\n";
      pre.append(span);
    }
    const code = document.createElement("div");
    code.className = "code";
    code.append(pre);
    cell.append(head, code);
  }
}

dark.addEventListener("change", () => retheme(dark.matches));
// Figures follow the paper's width when printed, and the window's again afterwards.
addEventListener("beforeprint", () => { retheme(false); plots().forEach(p => Plotly.relayout(p, { width: p.closest(".side") ? 330 : 680 })); });
addEventListener("afterprint", () => { retheme(dark.matches); plots().forEach(p => Plotly.relayout(p, { width: null, autosize: true })); });
draw().catch(error => {
  for (const one of document.querySelectorAll(".plotly-graph-div")) one.textContent = `This browser cannot draw the figure: ${error}`;
});
