import type { ViewProps } from './view-props.ts'

export default function UndoView(_: ViewProps) {
  return null
}
