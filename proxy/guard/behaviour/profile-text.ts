import { z } from "zod";
import { parseJson } from "../json-text.ts";
import { newProfile, type Profile } from "./profile.ts";

/** A profile as it is kept, and what of each proxy's work is in it. */
export interface KeptProfile {
  readonly profile: Profile;
  /** By proxy: the number of its last writing. So a proxy whose write got no answer knows if it counted. */
  readonly writers: Map<string, number>;
}

/** A fleet is smaller; restarts leave names behind. */
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
  // People stand in the order of their days: each day is written once, and not for each of them.
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

/** Undefined for what is no profile. */
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
