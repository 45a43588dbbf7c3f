import type { BoardPlan, PanelPlan, QueryPlan, TextPlan, VariablePlan } from "./plan.ts";

/** Grafana's dashboard model (its docs, "Dashboard JSON model"); each panel asks the data source that the reader chose. */
const SOURCE = { type: "prometheus", uid: "$datasource" };
const COLUMNS = 24;

/** The dashboard's JSON text, as a file holds it. */
export function boardText(plan: BoardPlan): string {
  const board = {
    id: null,
    uid: `sluice-${plan.name}`,
    title: plan.title,
    description: plan.description,
    tags: ["sluice", "postgres"],
    schemaVersion: 39,
    version: 1,
    editable: true,
    refresh: "30s",
    time: { from: "now-6h", to: "now" },
    timezone: "browser",
    links: [
      {
        title: "Sluice",
        type: "dashboards",
        tags: ["sluice"],
        asDropdown: true,
        includeVars: true,
        keepTime: true,
      },
    ],
    templating: {
      list: [
        { name: "datasource", label: "data source", type: "datasource", query: "prometheus", current: {} },
        ...plan.variables.map(variable),
      ],
    },
    annotations: { list: [policyReads()] },
    panels: placed(plan),
  };
  return `${JSON.stringify(board, null, 2)}\n`;
}

function variable({ name, metric }: VariablePlan): object {
  return {
    name,
    label: name,
    type: "query",
    datasource: SOURCE,
    query: `label_values(${metric}, ${name})`,
    refresh: 2,
    sort: 1,
    includeAll: true,
    multi: true,
    allValue: ".*",
    current: { text: "All", value: "$__all" },
  };
}

/** A mark on each picture where a policy came into force. */
function policyReads(): object {
  return {
    name: "Policy read",
    datasource: SOURCE,
    enable: true,
    iconColor: "blue",
    expr: 'sluice_policy_last_reload_success_timestamp_seconds{instance=~"$instance"} * 1000',
    useValueForTime: "on",
    titleFormat: "Policy read",
    textFormat: "{{instance}}",
  };
}

/** The panels with their numbers and places: row by row, and from left to right until a line is full. */
function placed({ rows }: BoardPlan): readonly object[] {
  const panels: object[] = [];
  let y = 0;
  for (const { title, panels: row } of rows) {
    panels.push({
      id: panels.length + 1,
      type: "row",
      title,
      collapsed: false,
      gridPos: { h: 1, w: COLUMNS, x: 0, y },
      panels: [],
    });
    y += 1;
    let x = 0;
    let height = 0;
    for (const plan of row) {
      if (x + plan.width > COLUMNS) {
        y += height;
        x = 0;
        height = 0;
      }
      const gridPos = { h: plan.height, w: plan.width, x, y };
      panels.push({ id: panels.length + 1, ...head(plan), gridPos, ...body(plan) });
      x += plan.width;
      height = Math.max(height, plan.height);
    }
    y += height;
  }
  return panels;
}

function head({ kind, title, description }: PanelPlan): object {
  return { type: kind, title, description };
}

function body(plan: PanelPlan): object {
  return plan.kind === "text" ? textBody(plan) : queryBody(plan);
}

function textBody({ markdown }: TextPlan): object {
  return { options: { mode: "markdown", content: markdown } };
}

function queryBody(plan: QueryPlan): object {
  return {
    datasource: SOURCE,
    fieldConfig: { defaults: defaults(plan), overrides: [] },
    options: OPTIONS[plan.kind],
    targets: plan.queries.map(({ expr, legend }, i) => ({
      refId: String.fromCharCode("A".charCodeAt(0) + i),
      datasource: SOURCE,
      expr,
      legendFormat: legend,
      ...(plan.kind === "timeseries" ? {} : { instant: true }),
    })),
  };
}

function defaults({ kind, unit, thresholds = [], words = {}, max }: QueryPlan): object {
  const steps = [
    { color: "green", value: null as number | null },
    ...thresholds.map(({ from, color }) => ({ color, value: from })),
  ];
  return {
    unit,
    min: 0,
    ...(max === undefined ? {} : { max }),
    color: { mode: kind === "timeseries" ? "palette-classic" : "thresholds" },
    thresholds: { mode: "absolute", steps },
    mappings: Object.entries(words).map(([value, result], index) => ({
      type: "value",
      options: { [value]: { ...result, index } },
    })),
    ...(kind === "timeseries"
      ? { custom: { fillOpacity: 10, thresholdsStyle: { mode: thresholds.length > 0 ? "dashed" : "off" } } }
      : {}),
  };
}

const OPTIONS: Readonly<Record<QueryPlan["kind"], object>> = {
  timeseries: {
    legend: { displayMode: "table", placement: "bottom", calcs: ["lastNotNull", "max"] },
    tooltip: { mode: "multi", sort: "desc" },
  },
  stat: {
    reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false },
    colorMode: "background",
    graphMode: "none",
    textMode: "auto",
  },
  bargauge: {
    reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false },
    displayMode: "gradient",
    orientation: "horizontal",
  },
};
