/**
 * The made-up people of the demo. Each is a pure function of a number, so that the same customer has the same name on
 * every machine, and a test knows number 7 without asking the database.
 *
 * None of them can be reached: names are plants, stones and birds; e-mail domains are RFC 2606's; phone numbers are of
 * 555-01xx; card numbers are of a range reserved for tests.
 */

/** How many of each the demo has. */
export interface Amounts {
  readonly customers: number;
  readonly tickets: number;
  readonly messages: number;
  readonly payments: number;
}

export const FULL: Amounts = { customers: 100_000, tickets: 200_000, messages: 400_000, payments: 150_000 };

export interface Customer {
  readonly id: number;
  readonly name: string;
  readonly email: string;
  readonly phone: string;
  readonly address: string;
  readonly birthDate: string;
  readonly country: string;
  readonly createdAt: string;
}

export interface Ticket {
  readonly id: number;
  readonly customerId: number;
  readonly assignee: string;
  readonly subject: string;
  readonly body: string;
  readonly status: string;
  readonly region: string;
  readonly createdAt: string;
}

export interface TicketMessage {
  readonly id: number;
  readonly ticketId: number;
  readonly customerId: number;
  readonly author: string;
  readonly body: string;
  readonly sentAt: string;
}

export interface Payment {
  readonly id: number;
  readonly customerId: number;
  readonly amountCents: number;
  readonly currency: string;
  readonly cardNumber: string;
  readonly paidAt: string;
}

const FIRST_NAMES =
  "Alder Amber Aster Basil Beryl Birch Briar Clover Coral Cosmo Dahlia Ember Fern Flint Garnet Hazel Heath Iris Ivy Jasper Juniper Laurel Linden Marlow Mica Myrtle Olive Onyx Opal Pearl Pepper Perry Poppy Quill Robin Rowan Saffron Sage Senna Slate Sorrel Tansy Teal Thyme Topaz Umber Violet Willow Wren Zinnia".split(
    " ",
  );
const LAST_NAMES =
  "Applecroft Barleywick Bellthorn Bracken Brambleby Candlewick Chalkhill Cobbleton Copperfen Cranefield Dapplegrove Dewbury Driftmoor Dunwick Eastwater Elderfell Fennimarsh Fiddlewood Finchley-Mock Foxglove Gablewick Goosegrass Greywether Hartsease Hawkstone Hollowell Inkpen Kestrelby Kettlebrook Larkspur Lightbody-Test Loamshire Marigold Merrowdown Millpond Mossgate Nettlebed Nightingale Oakapple Otterburn Pebblecombe Pinwhistle Quincewell Ravelstone Reedmace Ripplewater Rookhope Saltmarsh Sandpiper Sedgewick Silverbeck Skylark Starling Stonecrop Summerfold Swallowtail Thistledown Thornapple Tumblebrook Underbough Wagtail Watermint Whinberry Whitebeam Willowherb Windfall Woodruff Yarrowby".split(
    " ",
  );
const STREETS =
  "Nowhere Lane,Placeholder Road,Sample Street,Imaginary Way,Specimen Close,Lorem Avenue,Ipsum Square,Mock Turtle Row".split(
    ",",
  );
const TOWNS = "Exampleton,Testbury,Fictionford,Inventham,Nullhaven,Dummyport,Sandboxville,Fabricton".split(
  ",",
);
const COUNTRIES = [
  ["DE", "eu", "EUR"],
  ["FR", "eu", "EUR"],
  ["NL", "eu", "EUR"],
  ["IE", "eu", "EUR"],
  ["US", "us", "USD"],
  ["CA", "us", "USD"],
  ["JP", "apac", "JPY"],
  ["AU", "apac", "AUD"],
] as const;
const DOMAINS = ["example.com", "example.org", "example.net"];
const AGENTS = ["anna", "ben", "dora", "emil", "cleo"];
const STATUSES = ["open", "pending", "solved", "closed"];
const TOPICS = [
  "cannot log in",
  "invoice is wrong",
  "device does not arrive",
  "change of address",
  "asks for a refund",
  "app closes at start",
  "wants the contract ended",
  "password reset mail missing",
];

/** Start of the demo's time: fixed, so that no row depends on the day of the first start. */
const EPOCH = Date.UTC(2023, 0, 1);
const TWO_YEARS = 2 * 365 * 86_400;

/** The customer of this number, from 1. */
export function customerAt(id: number): Customer {
  const random = mulberry32(id);
  const first = pick(FIRST_NAMES, random());
  const last = pick(LAST_NAMES, random());
  const [country] = countryOf(id);
  const area = 200 + Math.floor(random() * 800);
  return {
    id,
    name: `${first} ${last}`,
    email: `${first}.${last}.${id}@${pick(DOMAINS, random())}`.toLowerCase(),
    phone: `+1 ${area} 555 01${String(id % 100).padStart(2, "0")}`,
    address: `${1 + Math.floor(random() * 250)} ${pick(STREETS, random())}, ${pick(TOWNS, random())}`,
    birthDate: new Date(Date.UTC(1940, 0, 1 + Math.floor(random() * 24_000))).toISOString().slice(0, 10),
    country,
    createdAt: momentAt(random()),
  };
}

/** The ticket of this number, of some customer among `customers`. */
export function ticketAt(id: number, customers: number): Ticket {
  const random = mulberry32(id + 0x10000000);
  const customer = customerOfTicket(id, customers);
  const person = customerAt(customer);
  const topic = pick(TOPICS, random());
  return {
    id,
    customerId: customer,
    assignee: pick(AGENTS, random()),
    subject: `${person.name} ${topic}`,
    body: `Hello, this is ${person.name}. About this: ${topic}. Please write to ${person.email} or call ${person.phone}.`,
    status: pick(STATUSES, random()),
    region: countryOf(customer)[1],
    createdAt: momentAt(random()),
  };
}

/** The message of this number; messages are dealt to the tickets in turn. */
export function messageAt(id: number, { tickets, customers }: Amounts): TicketMessage {
  const random = mulberry32(id + 0x20000000);
  const ticketId = 1 + ((id - 1) % tickets);
  const customerId = customerOfTicket(ticketId, customers);
  const person = customerAt(customerId);
  const fromCustomer = random() < 0.5;
  return {
    id,
    ticketId,
    customerId,
    author: fromCustomer ? "customer" : pick(AGENTS, random()),
    body: fromCustomer
      ? `Any news? My number is still ${person.phone}. ${person.name}`
      : `Dear ${person.name}, we are looking into it and will write to ${person.email}.`,
    sentAt: momentAt(random()),
  };
}

/** The payment of this number, of some customer among `customers`. */
export function paymentAt(id: number, customers: number): Payment {
  const random = mulberry32(id + 0x30000000);
  const customerId = 1 + Math.floor(random() * customers);
  const digits = String(Math.floor(random() * 1e8)).padStart(8, "0");
  return {
    id,
    customerId,
    amountCents: 500 + Math.floor(random() * 20_000),
    currency: countryOf(customerId)[2],
    cardNumber: `4000 0000 ${digits.slice(0, 4)} ${digits.slice(4)}`,
    paidAt: momentAt(random()),
  };
}

/** By ticket number only, so that a message's customer is known without generating the ticket. */
function customerOfTicket(id: number, customers: number): number {
  return 1 + Math.floor(mulberry32(id + 0x40000000)() * customers);
}

function countryOf(id: number): (typeof COUNTRIES)[number] {
  return pick(COUNTRIES, mulberry32(id + 0x50000000)());
}

function momentAt(part: number): string {
  return new Date(EPOCH + Math.floor(part * TWO_YEARS) * 1000).toISOString();
}

function pick<T>(from: readonly T[], part: number): T {
  // The index is below the length, because `part` is below 1.
  return from[Math.floor(part * from.length)] as T;
}

/** Tommy Ettinger's generator with 32 bits of state (public domain): small, fast, the same on every machine. */
function mulberry32(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1) | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
