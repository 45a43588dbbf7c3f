/*
 * Prices smaller than a person, counted in units: 256 units make a person. A person stands for 32 bits
 * (docs/security.md, "What the meter promises"), so a unit stands for an eighth of a bit.
 *
 * Counters hold people, and beside them one fraction of a person per scope. Units add up in that fraction; whenever
 * they make a person, an unknown person is counted. Units are spent only if there is already room for the person that
 * they will make, so a used-up budget refuses them.
 */

/** Units per person. */
export const PERSON = 256;

/** People, to a tenth, including the fraction that units make. */
export function peopleToTenths(people: number, fraction: number): number {
  return people + Math.floor((10 * fraction) / PERSON) / 10;
}

/** How many more people a budget needs room for to add `units` to the current fraction. */
export function peopleFor(fraction: number, units: number): number {
  return units === 0 ? 0 : Math.ceil((fraction + units) / PERSON);
}

/**
 * Bytes that count as one person in a watched role's rows that do not name their people: about a name and an e-mail
 * address.
 */
export const BYTES_OF_UNNAMED = 64;
