/**
 * The temp table that stands for one table of the tenant while it is restored: all live columns (domains as
 * their base types), and these five beside them. Rows are told apart by `action`:
 *
 *   insert   of the backup, missing live: to be inserted
 *   update   of the backup, differs: to be updated in place; tableoid, ctid, xmin are the live row's
 *   replace  the same, to be deleted and inserted, because a unique value or an owner changes
 *   same     of the backup and equal: nothing to do
 *   before   the live row of an update or replace, with its own values and the same row number
 *   delete   a live row that goes, with its own values
 *   release  a live row that no tenant owns and that is in the way: its place only, all other columns null
 *   keep     a live row that the options leave alone, with its own values
 *   skip     of the backup, passed over
 *
 * Columns of the backup that are computed by the database are null in rows of the backup.
 */
export const ROW = '"tenantkeep:row"'
export const ACTION = '"tenantkeep:action"'
export const TABLEOID = '"tenantkeep:tableoid"'
export const CTID = '"tenantkeep:ctid"'
export const XMIN = '"tenantkeep:xmin"'

/** The definition of the five, for `create temp table`; bigint, text, oid, tid, xid. */
export const BOOKKEEPING = `${ROW} bigint, ${ACTION} text, ${TABLEOID} oid, ${CTID} tid, ${XMIN} xid`

/** The name of the staged table of a registered table, by its place in the order of ownership. */
export function stagedName(index: number): string {
  return `pg_temp.tenantkeep_staged_${index}`
}
