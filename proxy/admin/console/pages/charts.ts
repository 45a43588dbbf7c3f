import { type Html, html, type Value } from "../html.ts";
import { number, table } from "./pieces.ts";

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** Marked, because it lies past a limit. */
  readonly isOver?: boolean;
  /** Under the chart, where there is room for few labels. */
  readonly tick?: string;
}

/** A line over the bars: of one height, or of one for each bar. */
export interface Line {
  readonly name: string;
  readonly kind: "limit" | "usual" | "peers";
  readonly values: readonly (number | undefined)[];
}

const WIDTH = 900;
const HEIGHT = 180;
const LEFT = 56;
const BOTTOM = 22;
const TOP = 10;

/** A bar chart; its figures follow as a table, for those who do not see it and for copying. */
export function barChart(caption: string, id: string, bars: readonly Bar[], lines: readonly Line[]): Html {
  const figures = [
    ...bars.map(({ value }) => value),
    ...lines.flatMap(({ values }) => values.filter(isGiven)),
  ];
  const top = roundUp(Math.max(1, ...figures));
  const room = HEIGHT - TOP - BOTTOM;
  const step = (WIDTH - LEFT) / Math.max(1, bars.length);
  const x = (i: number) => (LEFT + i * step).toFixed(1);
  const y = (value: number) => (TOP + room * (1 - value / top)).toFixed(1);
  const bar = ({ label, value, isOver = false }: Bar, i: number) =>
    value > 0 &&
    html`<rect class="bar-of ${isOver ? "over" : ""}" x="${x(i)}" y="${y(value)}" width="${Math.max(0.8, step * 0.8).toFixed(1)}" height="${Math.max(1, (room * value) / top).toFixed(1)}"><title>${label}: ${number(value)}</title></rect>`;
  return html`<figure class="chart" id="${id}">
    <figcaption>${caption}${lines.map(({ name, kind }) => html` <span class="key ${kind}">${name}</span>`)}</figcaption>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${caption}; the figures follow">
      ${[0, top / 2, top].map(
        (value) => html`<line class="grid" x1="${LEFT}" x2="${WIDTH}" y1="${y(value)}" y2="${y(value)}"/>
        <text class="axis" x="${LEFT - 6}" y="${y(value)}" text-anchor="end" dominant-baseline="middle">${number(value)}</text>`,
      )}
      ${bars.map(bar)}
      ${lines.map((line) => path(line, x, y, step))}
      ${bars.map(({ tick }, i) => tick !== undefined && html`<text class="axis" x="${x(i)}" y="${HEIGHT - 5}">${tick}</text>`)}
    </svg>
  </figure>`;
}

/** The same figures as a table that is opened when wanted. */
export function figuresTable(
  caption: string,
  heads: readonly string[],
  rows: readonly (readonly Value[])[],
): Html {
  return html`<details><summary>${caption}</summary>
    ${table(
      caption,
      heads.map((head, i) => (i === 0 ? { head } : { head, kind: "number" as const })),
      rows,
      "No figures.",
    )}
  </details>`;
}

function path(
  { kind, values }: Line,
  x: (i: number) => string,
  y: (value: number) => string,
  step: number,
): Html {
  let isOpen = false;
  const steps = values.map((value, i) => {
    if (value === undefined) {
      isOpen = false;
      return "";
    }
    const from = isOpen ? "L" : "M";
    isOpen = true;
    return `${from}${x(i)} ${y(value)}h${step.toFixed(1)}`;
  });
  return html`<path class="line ${kind}" d="${steps.join("")}"/>`;
}

function isGiven(value: number | undefined): value is number {
  return value !== undefined;
}

/** An even figure not below: 1, 2, 4, 10, 20, 40, 100 … */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 10].map((factor) => factor * power).find((one) => one >= value) ?? value;
}
