export interface Curve {
  readonly name: string;
  readonly points: readonly (readonly [across: number, down: number])[];
}

export interface Panel {
  readonly title: string;
  readonly across: string;
  readonly down: string;
  readonly curves: readonly Curve[];
}

const PANEL = { width: 360, height: 250, left: 54, right: 344, top: 44, bottom: 188 };
const COLOURS = ["#1f6f8b", "#c0392b", "#7a8b1f"];
const COLUMNS = 2;

/** Small pictures beside each other, both scales logarithmic: what grows evenly is a straight line. */
export function drawCurves(panels: readonly Panel[]): string {
  const [width, height] = [PANEL.width * COLUMNS, PANEL.height * Math.ceil(panels.length / COLUMNS)];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">`,
    "<title>How cost grows</title>",
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...panels.flatMap((panel, i) => [
      `<g transform="translate(${(i % COLUMNS) * PANEL.width} ${Math.floor(i / COLUMNS) * PANEL.height})">`,
      ...drawPanel(panel),
      "</g>",
    ]),
    "</svg>",
    "",
  ].join("\n");
}

function drawPanel({ title, across, down, curves }: Panel): readonly string[] {
  const all = curves.flatMap(({ points }) => points);
  const [xs, ys] = [all.map(([x]) => x), all.map(([, y]) => y)];
  const least = 10 ** Math.floor(Math.log10(Math.min(...ys)));
  const most = 10 ** Math.ceil(Math.log10(Math.max(...ys)));
  const x = (value: number) => scale(value, Math.min(...xs), Math.max(...xs), PANEL.left, PANEL.right);
  const y = (value: number) => scale(value, least, most, PANEL.bottom, PANEL.top);
  const places = curves[0]?.points.map(([value]) => value) ?? [];
  const grid = Array.from({ length: Math.round(Math.log10(most / least)) + 1 }, (_, n) => least * 10 ** n);
  return [
    `<text x="${PANEL.left}" y="18" font-size="13">${title}</text>`,
    `<text x="${PANEL.left}" y="33" fill="#555">${down}</text>`,
    ...grid.flatMap((value) => [
      `<path d="M${PANEL.left} ${y(value).toFixed(1)}H${PANEL.right}" stroke="#ddd"/>`,
      `<text x="${PANEL.left - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${shown(value)}</text>`,
    ]),
    ...places.map(
      (value) =>
        `<text x="${x(value).toFixed(1)}" y="${PANEL.bottom + 16}" text-anchor="middle">${shown(value)}</text>`,
    ),
    `<text x="${PANEL.right}" y="${PANEL.bottom + 30}" text-anchor="end" fill="#555">${across}</text>`,
    ...curves.flatMap(({ name, points }, i) => {
      const line = points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(" ");
      const at = PANEL.left + i * 100;
      return [
        `<polyline points="${line}" fill="none" stroke="${COLOURS[i]}" stroke-width="2"/>`,
        `<path d="M${at} ${PANEL.height - 17}h16" stroke="${COLOURS[i]}" stroke-width="3"/>`,
        `<text x="${at + 21}" y="${PANEL.height - 13}">${name}</text>`,
      ];
    }),
  ];
}

function scale(value: number, from: number, to: number, start: number, end: number): number {
  return start + ((Math.log(value) - Math.log(from)) / (Math.log(to) - Math.log(from))) * (end - start);
}

function shown(value: number): string {
  if (value >= 1_000_000) return `${value / 1_000_000}M`;
  return value >= 10_000 ? `${Math.round(value / 1_000)}k` : String(Number(value.toPrecision(3)));
}
