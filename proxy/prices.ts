/*
 * Prices smaller than a person. They are counted in units: 256 make a person, and as a person stands for 32 bits
 * (docs/security.md, "What the meter promises"), a unit stands for an eighth of a bit.
 *
 * Counters hold people, and beside them one fraction of a person for each scope. Units add up there; whenever they make
 * a person, somebody unknown is counted. Units are spent only where the person whom they will make has room already, so
 * a budget that is used up refuses them.
 */

/** How many units make a person. */
export const PERSON = 256;

/** People, and the tenths of one that units beside them make. */
export function peopleToTenths(people: number, fraction: number): number {
  return people + Math.floor((10 * fraction) / PERSON) / 10;
}

/** How many people there must be room for, so that there is room for `units` beside the fraction that is there. */
export function peopleFor(fraction: number, units: number): number {
  return units === 0 ? 0 : Math.ceil((fraction + units) / PERSON);
}

/** Of a watched role's rows that do not name their people, so many bytes stand for one: about a name and an e-mail address. */
export const BYTES_OF_UNNAMED = 64;
