// A candlestick chart that takes bars from the server: all of them once, then those that changed.
import { echarts } from "nicegui-echart";
import { SHOWN_BARS, candleOption, words } from "tickline-candles";

export default {
  template: `<figure class="chart">
    <div ref="canvas" class="chart-canvas" role="img" :aria-label="label"></div>
    <p v-if="!count" class="empty">{{ empty }}</p>
    <figcaption>{{ caption }}</figcaption>
  </figure>`,
  props: { empty: String },
  data: () => ({ caption: "", label: "Candlestick chart, empty", count: 0 }),
  mounted() {
    this.asked = null;
    this.bars = new Map();
    this.chart = echarts.init(this.$refs.canvas);
    this.sizes = new ResizeObserver(() => this.chart.resize());
    this.sizes.observe(this.$refs.canvas);
    this.themes = new MutationObserver(() => this.draw(false));
    this.themes.observe(document.documentElement, { attributes: true, attributeFilter: ["data-shade"] });
  },
  beforeUnmount() {
    this.sizes.disconnect();
    this.themes.disconnect();
    this.chart.dispose();
  },
  methods: {
    // Show another instrument or interval.
    show(asked) {
      this.bars = new Map(asked.bars.map((bar) => [bar[0], bar]));
      this.asked = asked;
      this.draw(false);
    },
    // Take bars that changed, and all signals.
    tail({ bars, signals }) {
      if (!this.asked) return;
      const last = [...this.bars.keys()].pop() ?? 0;
      for (const bar of bars) this.bars.set(bar[0], bar);
      if (bars.some((bar) => bar[0] < last)) this.bars = new Map([...this.bars].sort(([a], [b]) => a - b));
      this.asked.signals = signals;
      this.draw(true);
    },
    draw(isTail) {
      if (!this.asked) return;
      const { name, interval, signals } = this.asked;
      const bars = [...this.bars.values()];
      const dark = document.documentElement.dataset.shade === "dark";
      isTail = isTail && this.count > 0; // an empty chart has no window to keep
      const zoom = isTail && this.count < bars.length ? this.followed(this.count, bars.length) : null;
      this.count = bars.length;
      this.chart.setOption(candleOption({ bars, signals, interval, dark, isTail }), { notMerge: !isTail });
      if (zoom) this.chart.dispatchAction({ type: "dataZoom", ...zoom });
      const said = bars.length ? words(bars[bars.length - 1], interval).join(" · ") : "no bars yet";
      this.caption = said;
      this.label = `Candlestick chart of ${name}, ${interval}, ${bars.length} bars, ${signals.length} signals. ${said}`;
    },
    // Keep the newest bar in sight if it was.
    followed(before, after) {
      const { startValue, endValue } = this.chart.getOption().dataZoom[0];
      const by = endValue >= before - 1 ? after - before : 0;
      const isWhole = startValue === 0 && after <= SHOWN_BARS; // all bars still have room
      return { startValue: isWhole ? 0 : startValue + by, endValue: endValue + by };
    },
  },
};
