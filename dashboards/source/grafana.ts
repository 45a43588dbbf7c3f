import {
  type AnnotationQuery,
  BarGaugeDisplayMode,
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  type Dashboard,
  type DashboardLink,
  type DataQuery,
  FieldColorModeId,
  type FieldConfig,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  MappingType,
  type Panel,
  type RowPanel,
  SortOrder,
  ThresholdsMode,
  TooltipDisplayMode,
  type VariableModel,
  VariableRefresh,
  VariableSort,
  VizOrientation,
} from "@grafana/schema";
import type { BoardPlan, PanelPlan, QueryPlan, TextPlan, VariablePlan } from "./plan.ts";

/** Each panel asks the data source that the reader chose. */
const SOURCE = { type: "prometheus", uid: "$datasource" };
const COLUMNS = 24;

/** The dashboard's JSON text, as a file holds it. */
export function boardText(plan: BoardPlan): string {
  const board: Dashboard = {
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
    links: [OTHER_BOARDS],
    templating: {
      list: [
        { name: "datasource", label: "data source", type: "datasource", query: "prometheus" },
        ...plan.variables.map(variable),
      ],
    },
    annotations: { list: [POLICY_READS] },
    panels: placed(plan),
  };
  return `${JSON.stringify(board, null, 2)}\n`;
}

/** A menu of the dashboards with this tag, which keeps what was chosen. */
const OTHER_BOARDS: DashboardLink = {
  title: "Sluice",
  type: "dashboards",
  tags: ["sluice"],
  icon: "external link",
  tooltip: "",
  asDropdown: true,
  includeVars: true,
  keepTime: true,
  targetBlank: false,
};

function variable({ name, metric }: VariablePlan): VariableModel {
  return {
    name,
    label: name,
    type: "query",
    datasource: SOURCE,
    query: `label_values(${metric}, ${name})`,
    refresh: VariableRefresh.onTimeRangeChanged,
    sort: VariableSort.alphabeticalAsc,
    includeAll: true,
    multi: true,
    allValue: ".*",
    current: { text: "All", value: "$__all" },
  };
}

interface PrometheusQuery extends DataQuery {
  readonly expr: string;
}

/** What Grafana's Prometheus data source reads beside the general fields of an annotation. */
interface PrometheusAnnotation extends AnnotationQuery<PrometheusQuery> {
  readonly useValueForTime: boolean;
  readonly titleFormat: string;
  readonly textFormat: string;
}

/** A mark on each picture where a policy came into force. */
const POLICY_READS: PrometheusAnnotation = {
  name: "Policy read",
  datasource: SOURCE,
  enable: true,
  iconColor: "blue",
  target: {
    refId: "Anno",
    expr: 'sluice_policy_last_reload_success_timestamp_seconds{instance=~"$instance"} * 1000',
  },
  useValueForTime: true,
  titleFormat: "Policy read",
  textFormat: "{{instance}}",
};

/** The panels with their numbers and places: row by row, and from left to right until a line is full. */
function placed({ rows }: BoardPlan): (Panel | RowPanel)[] {
  const panels: (Panel | RowPanel)[] = [];
  let y = 0;
  for (const { title, panels: row } of rows) {
    const gridPos = { h: 1, w: COLUMNS, x: 0, y };
    panels.push({ id: panels.length + 1, type: "row", title, collapsed: false, gridPos, panels: [] });
    y += 1;
    let x = 0;
    let height = 0;
    for (const plan of row) {
      if (x + plan.width > COLUMNS) {
        y += height;
        x = 0;
        height = 0;
      }
      const place = { h: plan.height, w: plan.width, x, y };
      panels.push({ id: panels.length + 1, ...head(plan), gridPos: place, ...body(plan) });
      x += plan.width;
      height = Math.max(height, plan.height);
    }
    y += height;
  }
  return panels;
}

function head({ kind, title, description }: PanelPlan): Pick<Panel, "type" | "title" | "description"> {
  return { type: kind, title, description };
}

type Body = Omit<Panel, "type" | "title" | "description">;

function body(plan: PanelPlan): Body {
  return plan.kind === "text" ? textBody(plan) : queryBody(plan);
}

function textBody({ markdown }: TextPlan): Body {
  return { options: { mode: "markdown", content: markdown } };
}

function queryBody(plan: QueryPlan): Body {
  return {
    datasource: SOURCE,
    fieldConfig: { defaults: fieldConfig(plan), overrides: [] },
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

function fieldConfig({ kind, unit, thresholds = [], words = {}, max }: QueryPlan): FieldConfig {
  const isLine = kind === "timeseries";
  const dashed = thresholds.length > 0 ? GraphThresholdsStyleMode.Dashed : GraphThresholdsStyleMode.Off;
  return {
    unit,
    min: 0,
    ...(max === undefined ? {} : { max }),
    color: { mode: isLine ? FieldColorModeId.PaletteClassic : FieldColorModeId.Thresholds },
    thresholds: {
      mode: ThresholdsMode.Absolute,
      steps: [
        { color: "green", value: null },
        ...thresholds.map(({ from, color }) => ({ color, value: from })),
      ],
    },
    mappings: Object.entries(words).map(([value, result], index) => ({
      type: MappingType.ValueToText,
      options: { [value]: { ...result, index } },
    })),
    ...(isLine ? { custom: { fillOpacity: 10, thresholdsStyle: { mode: dashed } } } : {}),
  };
}

const LAST = { calcs: ["lastNotNull"], fields: "", values: false };

const OPTIONS: Readonly<Record<QueryPlan["kind"], Record<string, unknown>>> = {
  timeseries: {
    legend: {
      showLegend: true,
      displayMode: LegendDisplayMode.Table,
      placement: "bottom",
      calcs: ["lastNotNull", "max"],
    },
    tooltip: { mode: TooltipDisplayMode.Multi, sort: SortOrder.Descending },
  },
  stat: {
    reduceOptions: LAST,
    orientation: VizOrientation.Auto,
    colorMode: BigValueColorMode.Background,
    graphMode: BigValueGraphMode.None,
    textMode: BigValueTextMode.Auto,
  },
  bargauge: {
    reduceOptions: LAST,
    orientation: VizOrientation.Horizontal,
    displayMode: BarGaugeDisplayMode.Gradient,
  },
};
