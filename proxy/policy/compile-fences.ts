import type { PolicyDocument } from "./document.ts";
import { fenceStatements, runsLiterals } from "./fence-shapes.ts";
import { parseNetwork } from "./networks.ts";
import { matches } from "./patterns.ts";
import type { Fence, FencePlace, Network } from "./policy.ts";
import { at, type Problems } from "./problems.ts";

/** Connections of a Unix socket. */
const LOCAL = "local";

export function compileFences(documents: readonly PolicyDocument[], problems: Problems): Map<string, Fence> {
  const fences = new Map<string, Fence>();
  for (const document of documents) {
    for (const [account, { outside, places, statements }] of Object.entries(document.content.fences ?? {})) {
      const path = ["fences", account];
      const place = document.placeOfKey(path);
      const earlier = fences.get(account);
      if (earlier !== undefined) {
        problems.error(
          place,
          `"${account}" has two fences`,
          `The other is at ${at(earlier.place)}: take one out.`,
        );
        continue;
      }
      fences.set(account, {
        ...{ outside, place },
        places: places.map(({ from, program }, i) => ({
          networks: from.flatMap((text, j) =>
            networkOf(text, document, [...path, "places", i, "from", j], problems),
          ),
          isLocal: from.includes(LOCAL),
          program: { text: program, exact: !/[*?]/.test(program) },
        })),
        statements: fenceStatements(statements),
        unheld: statements.map(({ shape }) => shape).filter(runsLiterals),
      });
    }
  }
  return fences;
}

function networkOf(
  text: string,
  document: PolicyDocument,
  path: readonly (string | number)[],
  problems: Problems,
): readonly Network[] {
  if (text === LOCAL) return [];
  const parsed = parseNetwork(text);
  if (parsed.ok) return [parsed.network];
  problems.error(document.placeOf(path), parsed.problem, parsed.hint);
  return [];
}

/** Whether an account comes from where it always came from. */
export function isKnownPlace({ places }: Fence, address: string, program: string): boolean {
  return places.some((place) => comesFrom(place, address) && matchesPattern(place.program, program));
}

function comesFrom({ networks, isLocal }: FencePlace, address: string): boolean {
  return address === LOCAL ? isLocal : networks.some((network) => network.contains(address));
}

function matchesPattern({ text, exact }: FencePlace["program"], program: string): boolean {
  return exact ? text === program : matches(text, program);
}
