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

/** A drawing's size, and how many of the labels under it have room. */
interface Drawing {
  readonly name: "desk" | "phone";
  readonly width: number;
  readonly height: number;
  readonly everyTick: number;
}

/** A phone shows the second: the first would have letters that nobody can read there. */
const DRAWINGS: readonly Drawing[] = [
  { name: "desk", width: 900, height: 180, everyTick: 1 },
  { name: "phone", width: 360, height: 180, everyTick: 2 },
];
const LEFT = 56;
const BOTTOM = 22;
const TOP = 10;

/** A bar chart; its figures follow as a table, for those who do not see it and for copying. */
export function barChart(caption: string, id: string, bars: readonly Bar[], lines: readonly Line[]): Html {
  return html`<figure class="chart" id="${id}">
    <figcaption>${caption}${lines.map(({ name, kind }) => html` <span class="key ${kind}">${name}</span>`)}</figcaption>
    ${DRAWINGS.map((drawing) => drawn(drawing, caption, bars, lines))}
  </figure>`;
}

function drawn(
  { name, width, height, everyTick }: Drawing,
  caption: string,
  bars: readonly Bar[],
  lines: readonly Line[],
): Html {
  const figures = [
    ...bars.map(({ value }) => value),
    ...lines.flatMap(({ values }) => values.filter(isGiven)),
  ];
  const top = roundUp(Math.max(1, ...figures));
  const room = height - TOP - BOTTOM;
  const step = (width - LEFT) / Math.max(1, bars.length);
  const x = (i: number) => (LEFT + i * step).toFixed(1);
  const y = (value: number) => (TOP + room * (1 - value / top)).toFixed(1);
  const bar = ({ label, value, isOver = false }: Bar, i: number) =>
    value > 0 &&
    html`<rect class="bar-of ${isOver ? "over" : ""}" x="${x(i)}" y="${y(value)}" width="${Math.max(0.8, step * 0.8).toFixed(1)}" height="${Math.max(1, (room * value) / top).toFixed(1)}"><title>${label}: ${number(value)}</title></rect>`;
  const ticks = bars
    .flatMap(({ tick }, i) => (tick === undefined ? [] : [{ tick, i }]))
    .filter((_, place) => place % everyTick === 0);
  return html`<svg class="${name}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${caption}; the figures follow">
      ${[0, top / 2, top].map(
        (value) => html`<line class="grid" x1="${LEFT}" x2="${width}" y1="${y(value)}" y2="${y(value)}"/>
        <text class="axis" x="${LEFT - 6}" y="${y(value)}" text-anchor="end" dominant-baseline="middle">${number(value)}</text>`,
      )}
      ${bars.map(bar)}
      ${lines.map((line) => path(line, x, y, step))}
      ${ticks.map(({ tick, i }) => html`<text class="axis" x="${x(i)}" y="${height - 5}">${tick}</text>`)}
    </svg>`;
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
