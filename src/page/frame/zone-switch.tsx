import { SegmentedControl, Text } from '@mantine/core'
import { describeZone } from './format.ts'
import classes from './page.module.css'

/** Names the zone of all times on the page once, and shows them in UTC on demand. */
export function ZoneSwitch({ utc, onChange }: { utc: boolean; onChange: (utc: boolean) => void }) {
  const zone = describeZone(new Date())
  if (zone === 'UTC') {
    return (
      <Text size="xs" c="dimmed" className={classes.zone}>
        Times: UTC
      </Text>
    )
  }
  return (
    <div className={classes.zone}>
      <Text size="xs" c="dimmed" id="tenantkeep-zone">
        Times
      </Text>
      <SegmentedControl
        size="xs"
        aria-labelledby="tenantkeep-zone"
        value={utc ? 'utc' : 'local'}
        onChange={(value) => onChange(value === 'utc')}
        data={[
          { value: 'local', label: zone },
          { value: 'utc', label: 'UTC' },
        ]}
      />
    </div>
  )
}
