export interface Code {
  readonly name: string
  readonly number: number
  readonly meaning: string
}
export function codes(root: string): { server: Code[]; close: Code[]; facade: string[] }
export function gaps(root: string): string[]
export function errorsPage(root: string): string
