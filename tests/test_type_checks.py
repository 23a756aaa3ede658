import sys
import threading

from type_checks import checked


def test_checks_written_in_threads_know_their_own_types():
    failures: list[Exception] = []

    def decorate_and_call(thread: int) -> None:
        for number in range(40):
            # A new class, since Beartype keeps the checks of types that it has seen.
            new = type(f"New{thread}_{number}", (), {})

            def first(one, rest):
                return one

            first.__annotations__ = {"one": new, "rest": list[new], "return": new}
            try:
                checked(first)(new(), [new()])
            except Exception as error:
                failures.append(error)

    interval = sys.getswitchinterval()
    # As often as possible. Without the lock, one to five of 640 checks then fail.
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=decorate_and_call, args=(thread,)) for thread in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
