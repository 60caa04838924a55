import threading

from campaign.adapters.journal import JournalDirectory, JournalFile, read_journal
from campaign.core.model import Record, Task
from tests.adapters.test_artifacts import make_record


def task(job):
    return Task(job, "n", 1, 0, {}, 1, 1, "g", {}, "c", "f", "p", 1.0)


def test_threads_share_a_journal_without_mixing_lines(tmp_path):
    path = tmp_path / "w.jsonl"
    journal = JournalFile(path)

    def work(first):
        for job in range(first, first + 50):
            journal.started([task(job)], 0)
            journal.ended([make_record(job)])

    threads = [threading.Thread(target=work, args=(n * 50,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    entries = list(read_journal(path))
    assert len(entries) == 400
    assert sorted(e.job for e in entries if isinstance(e, Record)) == list(range(200))


def test_torn_and_foreign_lines_are_passed_over(tmp_path):
    path = tmp_path / "w.jsonl"
    journal = JournalFile(path)
    journal.started([task(1)], 5)
    journal.close()
    with path.open("ab") as file:
        file.write(b'null\n[1]\n{"start": [1]}\n{"end": {"job": 1}}\n{"start": [2, 1, 0, 9')
    assert [(e.job, e.at_ms) for e in read_journal(path)] == [(1, 5)]


def test_a_directory_reads_all_and_clears_all(tmp_path):
    journals = JournalDirectory(tmp_path)
    for worker in ("a", "b"):
        journal = JournalFile(journals.file(worker))
        journal.started([task(1)], 0)
        journal.close()
    assert len(list(journals.read())) == 2
    journals.clear()
    assert list(journals.read()) == []
