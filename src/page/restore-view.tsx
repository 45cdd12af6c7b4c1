import type { ViewProps } from './view-props.ts'

export default function RestoreView(_: ViewProps) {
  return null
}
