import type { ViewProps } from './view-props.ts'

export default function CompareView(_: ViewProps) {
  return null
}
