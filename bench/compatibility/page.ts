import type { Client } from "./clients.ts";
import type { Difference } from "./steps.ts";

/** What a client's steps came to in one way through Sluice. */
export interface WayCount {
  readonly name: "session" | "pool" | "agent" | "tokens";
  /** Steps that work directly, as the same user. */
  readonly direct: number;
  readonly differences: readonly (Difference & { readonly why: string | undefined })[];
}

export interface Count {
  readonly client: Client;
  readonly version: string;
  readonly ways: readonly WayCount[];
}

const [BEGIN, END] = ['<!-- made by "npm run compat -- --write" -->', "<!-- end -->"];

/** The counts of each client: steps that come out through Sluice as they do directly, of those that work directly. */
export function describeCounts(counts: readonly Count[], names: readonly string[]): string {
  const rows = counts.map(({ client, version, ways }) => [
    `${client.name} ${version}`.trim(),
    client.kind,
    // A client that can do nothing directly either (its tables need an owner) is none for that way.
    ...ways.map(({ direct, differences }) =>
      direct === 0 ? "–" : `${direct - differences.length} of ${direct}`,
    ),
  ]);
  return table(["client", "", ...names], rows);
}

/** Each step that differs, and why. */
export function describeDifferences(counts: readonly Count[]): string {
  const rows = counts.flatMap(({ client, ways }) =>
    ways.flatMap(({ name, differences }) =>
      differences.map(({ step, what, why }) => [
        client.name,
        name,
        step,
        why ?? `**not explained**: ${what.replaceAll("|", "\\|").replaceAll("\n", " ")}`,
      ]),
    ),
  );
  return table(["client", "way", "step", "why"], rows);
}

/** The page with another table between its two marks. Throws where it lacks them. */
export function replaceGenerated(page: string, text: string): string {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from < 0 || to < from) throw new Error(`docs/compatibility.md lacks ${BEGIN} and ${END}`);
  return `${page.slice(0, from)}${BEGIN}\n\n${text}\n\n${page.slice(to)}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
