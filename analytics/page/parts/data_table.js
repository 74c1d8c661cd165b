// A table whose rows come once and then change: sortable, searchable, in pages, and usable by keyboard.
const whole = new Intl.NumberFormat("en-IN", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en-IN", { notation: "compact", maximumFractionDigits: 2 });
const digits = {};

function number(value, places) {
  if (value === null || value === undefined) return "–";
  if (!places) return whole.format(value);
  digits[places] ??= new Intl.NumberFormat("en-IN", { minimumFractionDigits: places, maximumFractionDigits: places });
  return digits[places].format(value);
}

export default {
  template: `<div class="data-table">
    <div v-if="search || pages > 1" class="table-tools">
      <label v-if="search" class="search"><span class="for-readers">{{ search }}</span>
        <input type="search" v-model="wanted" :placeholder="search" @input="page = 0"></label>
      <span v-if="pages > 1" class="pager">
        <button type="button" @click="page--" :disabled="page === 0" aria-label="Previous page">‹</button>
        <span>{{ page * pageSize + 1 }}–{{ Math.min((page + 1) * pageSize, found.length) }} of {{ found.length }}</span>
        <button type="button" @click="page++" :disabled="page >= pages - 1" aria-label="Next page">›</button>
      </span>
    </div>
    <div class="table-scroll" tabindex="0" role="region" :aria-label="caption">
      <table>
        <caption class="for-readers">{{ caption }}</caption>
        <thead><tr>
          <th v-for="column in columns" :key="column.name" scope="col" :class="[column.kind, column.css]"
              :aria-sort="sorted(column)">
            <button v-if="column.sortable" type="button" @click="sort(column)">{{ column.label }}
              <span aria-hidden="true">{{ arrow(column) }}</span></button>
            <template v-else>{{ column.label }}</template>
          </th>
        </tr></thead>
        <tbody>
          <tr v-for="row in shown" :key="row.key" :class="{ chosen: row.key === chosen, marked: row.marked }"
              :aria-current="row.key === chosen ? 'true' : undefined">
            <template v-for="(column, place) in columns" :key="column.name">
              <th v-if="place === head" scope="row" :class="[column.kind, column.css]">
                <button v-if="choosing" type="button" class="choose" @click="choose(row)">{{ row[column.name] }}</button>
                <template v-else>{{ column.kind === 'number' ? number(row[column.name], column.places) : row[column.name] }}</template>
                <span v-if="badges && row.state" class="badge" :class="row.state.level">{{ row.state.words }}</span>
              </th>
              <td v-else :class="[column.kind, column.css, sign(column, row)]">
                <template v-if="column.kind === 'number'">{{ number(row[column.name], column.places) }}</template>
                <template v-else-if="column.kind === 'short'">{{ short(row[column.name]) }}</template>
                <template v-else-if="column.kind === 'change'">{{ change(row[column.name]) }}</template>
                <span v-else-if="column.kind === 'state'">
                  <span v-if="row[column.name]" class="badge" :class="row[column.name].level">{{ row[column.name].words }}</span>
                </span>
                <svg v-else-if="column.kind === 'spark'" viewBox="0 0 60 18" preserveAspectRatio="none" aria-hidden="true">
                  <polyline v-if="row[column.name]" :points="points(row[column.name])" /></svg>
                <template v-else>{{ row[column.name] }}</template>
              </td>
            </template>
          </tr>
        </tbody>
      </table>
      <p v-if="!found.length" class="empty">{{ wanted ? 'nothing matches “' + wanted + '”' : empty }}</p>
    </div>
  </div>`,
  props: {
    columns: Array, rows: Array, caption: String, empty: String, search: String, choosing: Boolean, chosen: String, badges: Boolean,
    pageSize: { type: Number, default: 50 }, head: { type: Number, default: 0 },
  },
  // by: name of the column that rows are sorted by; the columns themselves are others after each update.
  data: () => ({ items: new Map(), wanted: "", by: null, down: false, page: 0 }),
  computed: {
    found() {
      const wanted = this.wanted.trim().toUpperCase();
      let rows = [...this.items.values()];
      if (wanted)
        rows = rows.filter((row) => row.name.toUpperCase().includes(wanted) || row.key.toUpperCase().includes(wanted));
      const by = this.columns.find((column) => column.name === this.by);
      if (by === undefined)
        return rows[0]?.rank === undefined ? rows : rows.sort((a, b) => a.rank - b.rank || (a.name < b.name ? -1 : 1));
      const of = (row) => (by.kind === "state" ? row[by.name]?.words : row[by.name]) ?? null;
      const order = (a, b) => (a === null) - (b === null) || (this.down ? -1 : 1) * (a < b ? -1 : a > b ? 1 : 0);
      return rows.sort((a, b) => order(of(a), of(b)));
    },
    pages() {
      return Math.ceil(this.found.length / this.pageSize);
    },
    shown() {
      return this.found.slice(this.page * this.pageSize, (this.page + 1) * this.pageSize);
    },
    view() {
      return this.shown.map((row) => row.key).join(" ");
    },
  },
  watch: {
    rows: { immediate: true, handler(rows) { this.items = new Map((rows ?? []).map((row) => [row.key, row])); } },
    view: { immediate: true, handler() { this.$emit("view", this.shown.map((row) => row.key)); } },
    pages() { this.page = Math.max(0, Math.min(this.page, this.pages - 1)); },
  },
  mounted() { this.$emit("built"); },
  methods: {
    number,
    short(value) {
      return value === null || value === undefined ? "–" : compact.format(value);
    },
    // Take rows that changed.
    patch(rows) {
      for (const row of rows) this.items.set(row.key, row);
    },
    choose(row) { this.$emit("choose", row.key); },
    sort(column) {
      if (this.by !== column.name) [this.by, this.down] = [column.name, column.kind !== "text"];
      else if (this.down === (column.kind !== "text")) this.down = !this.down;
      else this.by = null;
    },
    sorted(column) {
      return this.by !== column.name ? undefined : this.down ? "descending" : "ascending";
    },
    arrow(column) {
      return this.by !== column.name ? "" : this.down ? "▼" : "▲";
    },
    change(value) {
      if (value === null || value === undefined) return "–";
      return `${value > 0 ? "▲ +" : value < 0 ? "▼ −" : ""}${number(Math.abs(value), 2)} %`;
    },
    sign(column, row) {
      return column.kind !== "change" || !row[column.name] ? "" : row[column.name] > 0 ? "up" : "down";
    },
    points(values) {
      const low = Math.min(...values), high = Math.max(...values), step = 60 / Math.max(values.length - 1, 1);
      return values.map((value, place) =>
        `${(place * step).toFixed(1)},${(17 - (16 * (value - low)) / (high - low || 1)).toFixed(1)}`).join(" ");
    },
  },
};
