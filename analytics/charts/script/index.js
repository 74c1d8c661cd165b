// Options of a candlestick chart for ECharts: candles, marks of quality, signals and volume, in Indian time.
// Used by the live page and by the file that `tickline spikes --chart` writes.

export const QUALITIES = {
  gap: "not received",
  partial: "received in part",
  thin: "made from a single trade",
  auction: "opening auction",
};
const ARROWS = { up: "▲ spike up", down: "▼ spike down" };
export const SHOWN_BARS = 120;
const IST_MS = 330 * 60_000;

const price = new Intl.NumberFormat("en-IN", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat("en-IN", { maximumFractionDigits: 0 });

const two = (number) => String(number).padStart(2, "0");

// A start of a bar, milliseconds since 1970, as day and time of India; `isDay`: the day alone.
export function indian(ms, isDay) {
  const at = new Date(ms + IST_MS);
  const day = `${two(at.getUTCDate())} ${at.toLocaleString("en", { month: "short", timeZone: "UTC" })}`;
  return isDay ? `${day} ${at.getUTCFullYear()}` : `${day} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
}

const COLOURS = {
  light: {
    text: "#1b2330", faint: "#59636e", line: "#d5dae1", panel: "#ffffff", up: "#14733c", down: "#c0222f",
    volume: "#8a97a8", gap: "#c0222f", partial: "#9a5b00", thin: "#59636e", auction: "#3454b4", signal: "#7a28a3",
  },
  dark: {
    text: "#e7ecf3", faint: "#a3afbf", line: "#39434f", panel: "#171d26", up: "#3fbf76", down: "#ff6b72",
    volume: "#66758a", gap: "#ff6b72", partial: "#e2a33c", thin: "#a3afbf", auction: "#8ba8ff", signal: "#d58cf5",
  },
};

// What a bar says, in words.
export function words(bar, interval) {
  const [start, open, high, low, close, volume, quality, source] = bar;
  const parts = [
    `${indian(start, interval === "1d")} IST`,
    `open ${price.format(open)}`,
    `high ${price.format(high)}`,
    `low ${price.format(low)}`,
    `close ${price.format(close)}`,
  ];
  if (volume !== null) parts.push(`volume ${whole.format(volume)}`);
  parts.push(quality === "complete" ? "complete" : `${quality}: ${QUALITIES[quality] ?? ""}`, `from ${source}`);
  return parts;
}

function escaped(text) {
  return String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

// `bars`: [start ms, open, high, low, close, volume, quality, source]; `signals`: [start ms, direction, confidence,
// price, reason]. `all`: begin with all bars in sight. The same series whatever the data, so that a later call with `isTail` changes data only.
export function candleOption({ bars, signals, interval, dark, isTail, all }) {
  const colours = COLOURS[dark ? "dark" : "light"];
  const labels = bars.map((bar) => indian(bar[0], interval === "1d"));
  const places = new Map(bars.map((bar, place) => [bar[0], place]));
  const found = signals.filter((signal) => places.has(signal[0]));
  const marks = bars.flatMap((bar, place) =>
    bar[6] in QUALITIES ? [{ value: [place, 0], itemStyle: { color: colours[bar[6]] } }] : [],
  );
  const volumes = bars.map((bar) => ({
    value: bar[5],
    itemStyle: { color: bar[4] >= bar[1] ? colours.up : colours.down, opacity: 0.55 },
  }));
  const spike = (direction) =>
    found
      .filter((signal) => signal[1] === direction)
      .map((signal) => {
        const bar = bars[places.get(signal[0])];
        return [places.get(signal[0]), direction === "up" ? bar[3] : bar[2]];
      });
  const series = [
    { id: "candles", data: bars.map(([, open, high, low, close]) => [open, close, low, high]) },
    { id: "spike up", data: spike("up") },
    { id: "spike down", data: spike("down") },
    { id: "quality", data: marks },
    { id: "volume", data: volumes },
  ];
  const xAxis = [0, 1, 2].map(() => ({ data: labels }));
  const formatter = (points) => tooltip(points, { bars, found, interval });
  if (isTail) return { xAxis, series, tooltip: { formatter } };

  const axis = (grid) => ({
    type: "category", gridIndex: grid, data: labels, boundaryGap: true,
    axisLine: { lineStyle: { color: colours.line } }, axisTick: { show: false }, splitLine: { show: false },
    axisLabel: { show: grid === 2, color: colours.faint, hideOverlap: true, alignMinLabel: "left" },
    axisPointer: { label: { show: grid === 2 } },
  });
  const scale = (grid, more) => ({
    scale: true, gridIndex: grid, position: "right", axisLine: { show: false }, axisTick: { show: false },
    splitLine: { lineStyle: { color: colours.line, opacity: 0.6 } }, axisLabel: { color: colours.faint }, ...more,
  });
  const marker = (direction) => ({
    type: "scatter", name: ARROWS[direction], symbol: "triangle", symbolRotate: direction === "up" ? 0 : 180,
    symbolSize: 13, symbolOffset: [0, direction === "up" ? 12 : -12], z: 5,
    itemStyle: { color: colours.signal, borderColor: colours.panel, borderWidth: 1 },
  });
  const style = [
    {
      type: "candlestick", name: "price", xAxisIndex: 0, yAxisIndex: 0,
      itemStyle: { color: colours.up, color0: colours.down, borderColor: colours.up, borderColor0: colours.down },
    },
    marker("up"),
    marker("down"),
    { type: "scatter", name: "quality", xAxisIndex: 1, yAxisIndex: 1, symbol: "rect", symbolSize: [6, 8] },
    { type: "bar", name: "volume", xAxisIndex: 2, yAxisIndex: 2, barMaxWidth: 12 },
  ];
  const first = all ? 0 : Math.max(0, bars.length - SHOWN_BARS);
  return {
    animation: false,
    aria: { enabled: false }, // the element says what it shows
    backgroundColor: "transparent",
    textStyle: { color: colours.text, fontFamily: "inherit" },
    grid: [
      { left: 8, right: 74, top: 12, height: "64%", outerBoundsMode: "none" },
      { left: 8, right: 74, top: "70%", height: 12, outerBoundsMode: "none" },
      { left: 8, right: 74, top: "75%", bottom: 56, outerBoundsMode: "none" },
    ],
    axisPointer: { link: [{ xAxisIndex: "all" }], label: { backgroundColor: colours.faint } },
    tooltip: {
      trigger: "axis", axisPointer: { type: "cross" }, confine: true, backgroundColor: colours.panel,
      borderColor: colours.line, textStyle: { color: colours.text, fontSize: 12 },
      formatter,
    },
    xAxis: [axis(0), axis(1), axis(2)],
    yAxis: [
      scale(0, { axisLabel: { color: colours.faint, formatter: (value) => price.format(value) } }),
      scale(1, { min: -1, max: 1, splitLine: { show: false }, axisLabel: { show: false } }),
      scale(2, {
        splitNumber: 2, min: 0,
        axisLabel: { color: colours.faint, formatter: (value) => short(value) },
      }),
    ],
    dataZoom: [
      { type: "inside", xAxisIndex: [0, 1, 2], startValue: first, endValue: bars.length - 1 },
      {
        type: "slider", xAxisIndex: [0, 1, 2], startValue: first, endValue: bars.length - 1, bottom: 6, height: 22,
        textStyle: { color: colours.faint }, borderColor: colours.line, brushSelect: false,
      },
    ],
    series: series.map((one, place) => ({ ...style[place], ...one })),
  };
}

function tooltip(points, { bars, found, interval }) {
  const bar = bars[points[0]?.dataIndex ?? -1] && bars[points.find((point) => point.seriesId === "candles")?.dataIndex];
  if (!bar) return "";
  const lines = words(bar, interval).map(escaped);
  for (const [start, direction, confidence, , reason] of found)
    if (start === bar[0]) lines.push(`<b>${ARROWS[direction]}</b>, confidence ${confidence}`, escaped(reason));
  return `<div style="max-width:18rem;white-space:normal">${lines.join("<br>")}</div>`;
}

function short(value) {
  for (const [size, name] of [[1e7, "cr"], [1e5, "lakh"], [1e3, "k"]])
    if (value >= size) return `${+(value / size).toFixed(1)} ${name}`;
  return whole.format(value);
}
