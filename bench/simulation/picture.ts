import type { CurvePoint } from "./tables.ts";

const WIDTH = 720;
const HEIGHT = 420;
const PLOT = { left: 70, right: 700, top: 50, bottom: 360 };
const LARGEST = 100_000;
/** Working days of the theft: what would be gone without a guard. */
const DAYS_OF_THEFT = 35;

/** People lost against people taken a day, both on logarithmic scales, as SVG. */
export function drawCurve(curve: readonly CurvePoint[]): string {
  const rates = curve.map(({ perDay }) => perDay);
  const [least, most] = [Math.min(...rates), Math.max(...rates)];
  const x = (rate: number) => scale(rate, least, most, PLOT.left, PLOT.right);
  const y = (people: number) => scale(Math.max(10, people), 10, LARGEST, PLOT.bottom, PLOT.top);
  const line = (of: (point: CurvePoint) => number, colour: string, dashes = "") => {
    const points = curve.map((point) => `${x(point.perDay).toFixed(1)},${y(of(point)).toFixed(1)}`).join(" ");
    return `<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="2.5"${dashes}/>`;
  };
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="13">`,
    "<title>People lost to a thief, by how many they take a day</title>",
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    ...[10, 100, 1_000, 10_000, 100_000].flatMap((people) => [
      `<path d="M${PLOT.left} ${y(people).toFixed(1)}H${PLOT.right}" stroke="#ddd"/>`,
      `<text x="${PLOT.left - 8}" y="${(y(people) + 4).toFixed(1)}" text-anchor="end">${people.toLocaleString("en-GB")}</text>`,
    ]),
    ...rates.map(
      (rate) =>
        `<text x="${x(rate).toFixed(1)}" y="${PLOT.bottom + 20}" text-anchor="middle">${rate.toLocaleString("en-GB")}</text>`,
    ),
    line(({ perDay }) => perDay * DAYS_OF_THEFT, "#888", ' stroke-dasharray="5 4"'),
    line(({ madeUp }) => madeUp, "#c0392b"),
    line(({ watched }) => watched, "#1f6f8b"),
    line(({ none }) => none, "#5a8f3c"),
    `<text x="${PLOT.left}" y="24" font-size="15">People lost in 48 days, by how many the thief takes a day</text>`,
    ...legend([
      ["#888", 118, "without a guard"],
      ["#c0392b", 165, "tickets made up for them"],
      ["#1f6f8b", 205, "that, alerts answered within a day"],
      ["#5a8f3c", 0, "no tickets"],
    ]),
    "</svg>",
    "",
  ].join("\n");
}

function scale(value: number, from: number, to: number, start: number, end: number): number {
  return start + ((Math.log(value) - Math.log(from)) / (Math.log(to) - Math.log(from))) * (end - start);
}

/** Each entry's width is given: nobody here can measure a font. */
function legend(
  entries: readonly (readonly [colour: string, width: number, text: string])[],
): readonly string[] {
  let x = PLOT.left;
  return entries.flatMap(([colour, width, text]) => {
    const at = x;
    x += width + 20;
    return [
      `<path d="M${at} ${HEIGHT - 17}h22" stroke="${colour}" stroke-width="3"/>`,
      `<text x="${at + 28}" y="${HEIGHT - 13}" font-size="11">${text}</text>`,
    ];
  });
}
