import { z } from "zod";
import { parseJson } from "../orders/json-text.ts";
import { newProfile, type Profile } from "./profile.ts";

/** A profile as stored, with how much of each proxy's work it contains. */
export interface KeptProfile {
  readonly profile: Profile;
  /** By proxy: the number of its last write. A proxy whose write got no answer can thus tell whether it was stored. */
  readonly writers: Map<string, number>;
}

/** More than a fleet has; restarts leave old names behind. */
const WRITERS_KEPT = 32;

const whole = z.number().int();
const pairs = z.array(z.tuple([z.string(), whole]));
const schema = z.object({
  days: z.array(
    z.object({
      day: whole,
      newPeople: whole,
      lookups: whole,
      overreached: z.number(),
      asked: whole.default(0),
      purposeless: whole.default(0),
      odd: z.boolean(),
    }),
  ),
  people: z.array(z.tuple([whole, z.array(z.string())])),
  hours: z.array(whole).length(48),
  oddHours: whole,
  lastHour: whole,
  networks: pairs,
  refusals: whole,
  pressed: z.array(whole),
  alerted: pairs,
  writers: pairs,
});

export function emptyProfile(): KeptProfile {
  return { profile: newProfile(), writers: new Map() };
}

export function profileText({ profile, writers }: KeptProfile): string {
  const { people, networks, alerted, ...rest } = profile;
  // People are in the order of their days, so each day is written once and not for each person.
  const byDay: [day: number, people: string[]][] = [];
  for (const [person, day] of people) {
    const last = byDay.at(-1);
    if (last?.[0] === day) last[1].push(person);
    else byDay.push([day, [person]]);
  }
  return JSON.stringify({
    ...rest,
    people: byDay,
    networks: [...networks],
    alerted: [...alerted],
    writers: [...writers].slice(-WRITERS_KEPT),
  });
}

/** Undefined if the text is not a profile. */
export function parseProfile(text: string): KeptProfile | undefined {
  const data = parseJson(schema, text);
  if (data === undefined) return undefined;
  const { people, networks, alerted, writers, ...rest } = data;
  const days = people.flatMap(([day, names]) => names.map((name) => [name, day] as const));
  return {
    profile: {
      ...rest,
      people: new Map(days),
      networks: new Map(networks),
      alerted: new Map(alerted),
    },
    writers: new Map(writers),
  };
}
