import { TextInput } from '@mantine/core'
import { type FormEvent, type RefObject, useRef, useState } from 'react'

/**
 * A word that is typed before something is lost: the name of the tenant, or how many. Case and outer spaces don't
 * matter. `what` names it in the fault.
 */
export function useTypedWord(word: string, what: string) {
  const [typed, setTyped] = useState('')
  const [isChecked, setChecked] = useState(false)
  const field = useRef<HTMLInputElement>(null)
  const isRight = fold(typed) === fold(word)
  return {
    check: () => {
      setChecked(true)
      if (!isRight) field.current?.focus()
      return isRight
    },
    props: {
      word,
      fieldRef: field,
      value: typed,
      onChange: setTyped,
      fault: isChecked && !isRight ? `Type the ${what} as shown: ${word}` : null,
    },
  }
}

const fold = (text: string) => text.trim().replaceAll(/\s+/g, ' ').toLocaleLowerCase()

/** Enter in it does nothing: it is no form's field. */
export function TypedWord({
  word,
  fieldRef,
  value,
  onChange,
  fault,
}: {
  word: string
  fieldRef: RefObject<HTMLInputElement | null>
  value: string
  onChange: (value: string) => void
  fault: string | null
}) {
  return (
    <TextInput
      ref={fieldRef}
      label={
        <>
          Type <strong>{word}</strong> to confirm
        </>
      }
      value={value}
      onChange={(event: FormEvent<HTMLInputElement>) => onChange(event.currentTarget.value)}
      error={fault ?? undefined}
      autoComplete="off"
      autoCorrect="off"
      spellCheck={false}
    />
  )
}
