import type { Source } from "./attribution/attribute.ts";
import { minute, counted as plural, printable } from "./printable.ts";
import type { Counted, Suspect, WhoRead } from "./who-read.ts";

/** What a question about leaked people said. */
export interface AskedWords {
  readonly namespace: string;
  readonly notes: readonly string[];
  readonly like: readonly string[] | undefined;
  readonly counted: Counted;
}

/** What was compared with what. */
export function headLines(
  answer: WhoRead,
  { namespace, notes, like, counted }: AskedWords,
): readonly string[] {
  const { leaked, unread, readings, users, people, controls, leftOut, basis } = answer;
  const { needs, unexplainedOnly } = counted;
  return [
    `${leaked} leaked people of ${namespace}, ${leaked - unread} of them read by a user in this log`,
    ...(unread > 0
      ? [
          `${unread} ${unread === 1 ? "was" : "were"} read by no one here: no evidence; they came from elsewhere, or from what is not covered`,
        ]
      : []),
    ...notes,
    `${plural(readings, "reading")} by ${plural(users, "user")}, of ${people} different people`,
    controls === undefined
      ? "compared with people who were read (no --like)"
      : `compared with ${controls} people${like?.length ? ` who are the same in ${like.join(", ")}` : ""}${
          basis === "read"
            ? ", of them with those who were read: leaked people are read more than others"
            : ""
        }`,
    ...(needs.length > 0
      ? [`only readings that showed ${needs.join(" or ")} in the clear, or found people by it`]
      : []),
    ...(unexplainedOnly ? ["only readings of people without a connection to the reader"] : []),
    ...(leftOut.masks > 0
      ? [
          leftOut.masks === 1
            ? "1 reading of them that showed nothing but masks does not count"
            : `${leftOut.masks} readings of them that showed nothing but masks do not count`,
        ]
      : []),
    ...(leftOut.unsaid > 0
      ? [
          `${plural(leftOut.unsaid, "reading")} of them not counted: older versions did not record what was shown`,
        ]
      : []),
  ];
}

/** Of each suspect, in the words of a table. */
export const SUSPECT_HEADS = [
  "user",
  "leaked",
  "by chance",
  "people read",
  "chance",
  "first",
  "last",
] as const;

export function suspectRow(suspect: Suspect): readonly (string | number)[] {
  const { user, leaked, expected, people, chance, first, last } = suspect;
  return [
    printable(user),
    leaked,
    Number(expected.toFixed(expected < 1 ? 2 : 1)),
    people,
    percent(chance),
    minute(first),
    minute(last),
  ];
}

/** Whom the readings name, in words. Without people alike nobody is named but on a condition. */
export function conclusion(answer: WhoRead): readonly string[] {
  const { sources, suspects } = answer;
  const named = sources.flatMap(({ user }) => placesOf(suspects.find((suspect) => suspect.user === user)));
  return [...verdict(answer), ...named];
}

function verdict({ sources, suspects, leaked, unread, controls }: WhoRead): readonly string[] {
  const [first] = suspects;
  if (first === undefined)
    return [
      "No user in this log read any of them, as far as the log names people.",
      "Check that it has ids of these people: a list of ids of something else has the same answer.",
    ];
  const read = leaked - unread;
  const condition =
    controls === undefined
      ? ["If one of your users is the source (only a comparison with similar people can show that: --like):"]
      : [];
  const [only, ...others] = sources;
  if (only === undefined) {
    return [
      ...condition,
      `${printable(first.user)} read the most compared with chance, ${first.leaked} of the ${leaked} leaked people: chance and ordinary work alone may explain that. No user stands out.`,
      ...(leaked < 5 ? ["So few people rarely identify a user; a longer list may."] : []),
    ];
  }
  if (others.length === 0)
    return [
      ...condition,
      `${printable(only.user)} read ${only.leaked} of the ${leaked} leaked people, which chance gives to no innocent user but with a probability of ${percent(only.chance)}.`,
      ...alternatives(only),
    ];
  const together = sources.map(({ user }) => printable(user)).join(", ");
  return [
    ...condition,
    `${together} together explain the list (${read} of ${leaked} were read by a user), and none of them can be left out:`,
    ...sources.flatMap((source) => [
      `  ${printable(source.user)} read ${source.leaked}, ${source.alone} of them as the only one of these: by chance with a probability of ${percent(source.chance)}`,
      ...alternatives(source),
    ]),
  ];
}

function alternatives({ user, or }: Source): readonly string[] {
  if (or.length === 0) return [];
  return [
    `  ${or.map(printable).join(", ")} explain${or.length === 1 ? "s" : ""} the list as surely: it may be ${or.length === 1 ? printable(or[0] ?? "") : "one of them"} in the place of ${printable(user)}, or several of them.`,
  ];
}

function placesOf(suspect: Suspect | undefined): readonly string[] {
  if (suspect === undefined) return [];
  const { user, addresses, applications } = suspect;
  // Not each program says which it is.
  const named = applications.map(printable).filter((name) => name !== "");
  return [
    `${printable(user)}: from ${addresses.map(printable).join(", ")}${named.length === 0 ? "" : `; with ${named.join(", ")}`}`,
  ];
}

function percent(share: number): string {
  if (share < 1e-300) return "less than 1e-298 %";
  return share < 0.0001
    ? `${(share * 100).toExponential(0)} %`
    : `${(share * 100).toFixed(share < 0.1 ? 2 : 0)} %`;
}

/** What the columns of the table mean. */
export const CHANCE_WORDS =
  "by chance: what the user would have read of the list if it had nothing to do with them. chance: at most this\nprobable is it that any innocent user reads so many of it; no one is named above 0.01 %.";
