// <koban-chart src unit zone>: lines of what the platform was in the last minutes, drawn by uPlot. The legend beside it
// says which figures and in which colours; the table below has the same for who can't see lines.

const EVERY_MS = 2_000;
const SECONDS_SHOWN = 900;
const HEIGHT = 120;
const ZONES = { jst: "Asia/Tokyo", utc: "UTC" };

class KobanChart extends HTMLElement {
  connectedCallback() {
    this.lines = [...this.closest("figure").querySelectorAll("[data-figure]")];
    this.data = [[], ...this.lines.map(() => [])];
    this.chart = new uPlot(this.options(), this.data, this);
    this.sized = new ResizeObserver(() => this.chart.setSize({ width: this.clientWidth, height: HEIGHT }));
    this.sized.observe(this);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.repaint = () => this.chart.redraw(false);
    this.dark.addEventListener("change", this.repaint);
    this.timer = setInterval(() => document.hidden || this.ask(), EVERY_MS);
    this.ask();
  }

  disconnectedCallback() {
    clearInterval(this.timer);
    this.dark.removeEventListener("change", this.repaint);
    this.sized.disconnect();
    this.chart.destroy();
  }

  options() {
    const ink = () => getComputedStyle(this).color;
    const grid = { stroke: () => getComputedStyle(this).borderColor, width: 1 };
    const axis = { stroke: ink, font: `11px ${getComputedStyle(this).fontFamily}`, grid, ticks: { show: false } };
    const unit = this.getAttribute("unit");
    return {
      width: this.clientWidth || 400,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), ZONES[this.getAttribute("zone")]),
      scales: { y: { range: (_, low, high) => [0, Math.max(high ?? 0, 1e-9) * 1.1] } },
      series: [{}, ...this.lines.map((line) => ({ stroke: () => getComputedStyle(line).color, width: 1.6, points: { show: false } }))],
      axes: [
        { ...axis, size: 26, space: 70, values: [[60, "{HH}:{mm}", null, null, null, null, null, null, 1], [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1]] },
        { ...axis, size: 46, space: 28, values: (_, ticks) => ticks.map((tick) => `${tick}${unit && ` ${unit}`}`) },
      ],
    };
  }

  async ask() {
    const [at] = this.data;
    let fresh;
    try {
      const answer = await fetch(`${this.getAttribute("src")}?since=${at.at(-1) ?? 0}`);
      if (!answer.ok) return;
      fresh = await answer.json();
    } catch {
      return; // the page says that it is cut off; the next try is soon
    }
    const added = [fresh.at, ...this.lines.map((line) => fresh[line.dataset.figure])];
    this.data = this.data.map((known, which) => [...known, ...added[which]].slice(-SECONDS_SHOWN));
    this.chart.setData(this.data);
    this.dataset.points = this.data[0].length;
  }
}

customElements.define("koban-chart", KobanChart);
