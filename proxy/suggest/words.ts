/*
 * What the names of columns and tables suggest, in English and German. Names come in lower case, without accents (ß is
 * ss) and split into words: `BillingAddress2` is "billing address 2". If two rules match, the first one counts.
 */

export interface ClassRule {
  /** A class of the template. */
  readonly name: string;
  /** A table with such a column and a key of its own is about people. */
  readonly identifies: boolean;
  /** Number columns may hold it too. */
  readonly numbers: boolean;
  /** Adjacent words in a name; for free text, at its end. */
  readonly words: readonly string[];
  /** Also matches inside a word: German compounds words. */
  readonly within: readonly string[];
}

export const RULES: readonly ClassRule[] = [
  {
    ...{ name: "text", identifies: false, numbers: false, within: [] },
    words: list(`
      body note notes comment comments description message text content subject memo remark remarks summary
      transcript feedback bio biography answer question title reason
      bemerkung bemerkungen notiz notizen kommentar beschreibung nachricht betreff inhalt anmerkung`),
  },
  {
    ...{ name: "secret", identifies: false, numbers: true },
    words: list(`
      pwd api_key access_key private_key hash digest salt otp pin cvv cvc totp mfa cookie recovery_code
      security_answer security_question`),
    within: list("password passwort passwd kennwort token secret apikey credential"),
  },
  {
    ...{ name: "card", identifies: true, numbers: true },
    words: list("card_number card_no card_nr card_num credit_card debit_card cc_number cc_no pan"),
    within: list("creditcard cardnumber kreditkarte kartennummer"),
  },
  {
    ...{ name: "iban", identifies: true, numbers: true },
    words: list(`
      iban bank_account account_number account_no account_nr routing_number sort_code
      konto_nr konto_nummer bankverbindung`),
    within: list("bankaccount kontonummer"),
  },
  {
    ...{ name: "national_id", identifies: true, numbers: true },
    words: list(`
      ssn sin nin nino tin cpf bsn pesel aadhaar social_security national_id national_insurance tax_id tax_no tax_number
      id_card id_number identity_card identity_number driver_license drivers_license driving_licence licence_number
      license_number personal_number steuer_id steuer_nr steuer_nummer sv_nummer sv_nr`),
    within: list(`
      passport steuernummer steuerid ausweis reisepass sozialversicherung versichertennummer personalnummer
      fuhrerschein fuehrerschein`),
  },
  {
    ...{ name: "email", identifies: true, numbers: false },
    words: list("e_mail mail mails"),
    within: list("email"),
  },
  {
    ...{ name: "ip", identifies: false, numbers: false },
    words: list("ip ips ipv ip_address remote_addr remote_address client_addr mac_address"),
    within: list("ipaddress ipaddr ipadresse"),
  },
  {
    ...{ name: "phone", identifies: true, numbers: true },
    words: list("mobile mobil cell fax tel handy msisdn whatsapp"),
    within: list("phone telefon telefax handynummer mobilnummer rufnummer"),
  },
  {
    ...{ name: "name", identifies: true, numbers: false },
    words: list(`
      first_name last_name full_name family_name given_name middle_name display_name real_name maiden_name birth_name
      nick_name user_name login forename fname lname name_first name_last contact_name contact_person customer_name
      client_name patient_name employee_name person_name member_name guest_name card_holder account_holder holder
      beneficiary recipient payee applicant`),
    within: list(`
      firstname lastname fullname surname username nickname
      vorname nachname zuname familienname geburtsname kundenname benutzername ansprechpartner empfanger empfaenger
      inhaber`),
  },
  {
    ...{ name: "birth", identifies: true, numbers: true },
    words: list("birth dob born"),
    within: list("birthdate birthday geburt"),
  },
  {
    ...{ name: "address", identifies: false, numbers: true },
    words: list(`
      addr city town zip postcode postal_code zip_code post_code house_number house_no
      plz ort wohnort haus_nr`),
    within: list("address street zipcode adresse anschrift strasse hausnummer postleitzahl"),
  },
];

/** A person's name in a table of people, and a thing's name in other tables. */
export const NAME_ENDINGS = list("name names bezeichnung");

/** For any type: such a column may be private, and a person must choose its mask. */
export const SENSITIVE = list(`
  salary income wage age gender sex religion race ethnicity ethnic nationality disability diagnosis health blood medical
  illness allergy latitude longitude lat lng lon geo location coordinates marital sexual orientation political union
  score credit_limit
  gehalt lohn einkommen geschlecht konfession nationalitat diagnose krankheit`);

/** Short text that says nothing about a person, by the last word of the column's name. */
export const HARMLESS = list(`
  status state country currency region language lang locale type kind category priority channel source plan tier level
  sku timezone unit version queue
  land wahrung sprache typ art kategorie prioritat`);

/** The people that a table's rows are about, by the last word of its name, in the singular. */
export const PEOPLE = list(`
  customer client user person people individual contact patient member subscriber employee student pupil guest applicant
  candidate participant visitor passenger traveller traveler donor citizen resident voter lead prospect buyer seller
  author driver rider worker agent admin operator staff teacher doctor beneficiary borrower debtor dependent relative
  child children spouse player profile
  kunde benutzer nutzer mitarbeiter mitglied kontakt ansprechpartner teilnehmer bewerber gast schuler versicherter
  mandant interessent mieter angehoriger`);

/** Those of them who work with other people's records: if a row references both, it is about the others. */
export const STAFF = list(
  "employee user agent admin operator staff author worker mitarbeiter benutzer nutzer",
);

/** The endings of names of columns that reference another table's row. */
export const KEY_ENDINGS = list("id nr no number key fk ref uuid nummer");

/** "_" joins the words of one entry. */
function list(text: string): readonly string[] {
  return text
    .trim()
    .split(/\s+/)
    .map((entry) => entry.replaceAll("_", " "));
}
