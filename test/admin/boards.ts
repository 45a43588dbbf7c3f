import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

/** Where Grafana and Prometheus read what we give them. */
export const DASHBOARDS = fileURLToPath(new URL("../../dashboards/", import.meta.url));

export interface Target {
  readonly expr: string;
  readonly legendFormat: string;
  readonly refId: string;
  readonly datasource: { readonly uid: string };
}

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: { readonly uid: string };
  readonly gridPos: Readonly<Record<"x" | "y" | "w" | "h", number>>;
  readonly fieldConfig?: { readonly defaults: { readonly unit: string } };
  /** None in a row's title or a text. */
  readonly targets?: readonly Target[];
}

export interface Variable {
  readonly name: string;
  readonly type: string;
  readonly query: string;
}

export interface Annotation {
  readonly name: string;
  readonly target: { readonly expr: string };
  readonly textFormat: string;
}

export interface Board {
  readonly file: string;
  readonly text: string;
  readonly id: unknown;
  readonly uid: string;
  readonly title: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly Variable[] };
  readonly annotations: { readonly list: readonly Annotation[] };
}

export async function readBoards(): Promise<readonly Board[]> {
  const files = (await readdir(DASHBOARDS)).filter((name) => name.endsWith(".json"));
  return Promise.all(
    files.sort().map(async (file) => {
      const text = await readFile(DASHBOARDS + file, "utf8");
      return { ...JSON.parse(text), file, text };
    }),
  );
}

export interface Rule {
  /** One of the two is there. */
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export async function readRules(): Promise<readonly Rule[]> {
  const { groups } = parse(await readFile(`${DASHBOARDS}rules.yml`, "utf8"));
  return groups.flatMap(({ rules }: { rules: Rule[] }) => rules);
}

/** Something that is asked of Prometheus, and where. */
export interface Question {
  readonly where: string;
  readonly expr: string;
  /** Labels that the answer must have, for it is named after them. */
  readonly labels: readonly string[];
}

/** What a board asks about one instance, for all that its other variables could be set to. */
export function questionsOf({ file, panels, templating, annotations }: Board, instance: string): Question[] {
  const asked = panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat }) => ({ where: title, expr, labels: labelsIn(legendFormat) })),
  );
  const chosen = templating.list.flatMap(({ name, query }) => {
    const [, metric, label = ""] = /^label_values\((.+), (\w+)\)$/.exec(query) ?? [];
    if (metric === undefined) return [];
    return [{ where: `$${name}`, expr: `group by (${label}) (${metric})`, labels: [label] }];
  });
  const marked = annotations.list.map(({ name, target, textFormat }) => ({
    where: name,
    expr: target.expr,
    labels: labelsIn(textFormat),
  }));
  return [...asked, ...chosen, ...marked].map((question) => ({
    ...question,
    where: `${file}, ${question.where}`,
    expr: filledIn(question.expr, instance),
  }));
}

function labelsIn(format: string): readonly string[] {
  return [...format.matchAll(/\{\{(\w+)\}\}/g)].flatMap(([, label]) => label ?? []);
}

/** What Grafana puts in the place of variables. */
function filledIn(expr: string, instance: string): string {
  return expr
    .replace(/\$__(?:rate_interval|range|interval)/g, "1m")
    .replaceAll("$instance", instance)
    .replace(/\$[a-z]+/g, ".*");
}

/** The series that an expression picks: names with what must be true of their labels. */
export function selectorsOf(expr: string): readonly string[] {
  return expr.match(/\b(?:sluice[_:][\w:]+|up\b|(?:process|nodejs)_\w+)(?:\{[^}]*\})?/g) ?? [];
}

/** Their names, of a histogram without the parts. */
export function metricsOf(expr: string): readonly string[] {
  return selectorsOf(expr).map((selector) => familyOf(selector.replace(/\{.*/, "")));
}

export function familyOf(name: string): string {
  return name.replace(/_(?:bucket|sum|count)$/, "");
}
