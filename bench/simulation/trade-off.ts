import { figure } from "./tables.ts";

/** One size of a budget for a whole role: see role-budget.ts. */
export interface RoleBudget {
  /** Times what the role reads on an ordinary working day. */
  readonly share: number;
  readonly limit: number;
  /** People lost from day 42 to day 90, by how many each colluding account takes a day. */
  readonly lost: Readonly<Record<string, number>>;
  /** Statements of honest agents that were stopped, of 1,000 agent-days: while nobody steals, and while they take 75. */
  readonly blocked: number;
  readonly blockedBeside: number;
}

export function tradeOffTable(sizes: readonly RoleBudget[]): string[] {
  const rates = Object.keys(sizes[0]?.lost ?? {});
  return [
    `| \`role_budget\`, times an ordinary day of the role | ${rates.map((rate) => `lost at ${rate} a day each`).join(" | ")} | blocked per 1,000 agent-days, nobody steals | blocked while they take 75 |`,
    `| ---: |${rates.map(() => " ---: |").join("")} ---: | ---: |`,
    ...sizes.map(({ share, lost, blocked, blockedBeside }) => {
      const losses = rates.map((rate) => figure(lost[rate] ?? 0));
      return `| ${[share.toFixed(2), ...losses, blocked.toFixed(1), blockedBeside.toFixed(1)].join(" | ")} |`;
    }),
  ];
}

const WIDTH = 720;
const HEIGHT = 340;
const PLOT = { left: 70, right: 640, top: 50, bottom: 280 };
const COLOURS = { lost: "#c0392b", blocked: "#1f6f8b" } as const;

/** Loss and blocked statements over the size of the budget, each as a share of what it is at its worst. */
export function drawTradeOff(sizes: readonly RoleBudget[], rate: string): string {
  const most = {
    lost: worst(sizes, ({ lost }) => lost[rate] ?? 0),
    blocked: worst(sizes, (size) => size.blocked),
  };
  const x = (i: number) => PLOT.left + ((PLOT.right - PLOT.left) * i) / Math.max(1, sizes.length - 1);
  const y = (share: number) => PLOT.bottom - (PLOT.bottom - PLOT.top) * share;
  const line = (share: (size: RoleBudget) => number, colour: string) => {
    const points = sizes.map((size, i) => `${x(i).toFixed(1)},${y(share(size)).toFixed(1)}`).join(" ");
    return `<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="2.5"/>`;
  };
  const axis = (at: number, anchor: string, colour: string, of: number) =>
    [0, 0.5, 1].map(
      (share) =>
        `<text x="${at}" y="${(y(share) + 4).toFixed(1)}" text-anchor="${anchor}" fill="${colour}">${figure(Math.round(of * share))}</text>`,
    );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="13">`,
    "<title>What a budget for a whole role stops, and whom it stands in the way of</title>",
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    ...[0, 0.5, 1].map((share) => `<path d="M${PLOT.left} ${y(share)}H${PLOT.right}" stroke="#ddd"/>`),
    ...axis(PLOT.left - 8, "end", COLOURS.lost, most.lost),
    ...axis(PLOT.right + 8, "start", COLOURS.blocked, most.blocked),
    ...sizes.map(
      ({ share }, i) =>
        `<text x="${x(i).toFixed(1)}" y="${PLOT.bottom + 20}" text-anchor="middle">${share.toFixed(2)}</text>`,
    ),
    line(({ lost }) => (lost[rate] ?? 0) / most.lost, COLOURS.lost),
    line(({ blocked }) => blocked / most.blocked, COLOURS.blocked),
    `<text x="${PLOT.left}" y="24" font-size="15">role_budget, times what the role reads on an ordinary day</text>`,
    `<text x="${PLOT.left}" y="${HEIGHT - 14}" fill="${COLOURS.lost}">people lost at ${rate} a day each</text>`,
    `<text x="${PLOT.right}" y="${HEIGHT - 14}" text-anchor="end" fill="${COLOURS.blocked}">blocked statements per 1,000 agent-days</text>`,
    "</svg>",
    "",
  ].join("\n");
}

function worst(sizes: readonly RoleBudget[], of: (size: RoleBudget) => number): number {
  return Math.max(1, ...sizes.map(of));
}
