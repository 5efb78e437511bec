from taskyard_api.v1 import admin_service_pb2 as admin


def task(number: int, **fields) -> admin.Task:
    usual = {
        "name": f"task-{number}",
        "version": "1.2",
        "encodings": ["json/plain"],
        "parameter_schema": '{"type": "array"}',
        "description": "Adds\ntwo  numbers.",
        "queues": ["default", "gpu"],
        "agents": ["a", "b"],
    }
    return admin.Task(**{**usual, **fields})


def test_tasks_of_all_pages_are_listed(services, call):
    services.tasks = [task(number) for number in range(5)]
    heading, *lines = call("task", "ls").lines
    assert heading.split() == ["NAME", "VERSION", "QUEUES", "ENCODINGS", "AGENTS", "DESCRIPTION"]
    assert [line.split()[0] for line in lines] == [f"task-{number}" for number in range(5)]
    assert lines[0].endswith(" Adds two numbers.")


def test_the_same_as_json(services, call):
    services.tasks = [task(1, result_schema="no json")]
    (document,) = call("task", "ls", "--json").document
    assert document == {
        "name": "task-1",
        "version": "1.2",
        "description": "Adds\ntwo  numbers.",
        "encodings": ["json/plain"],
        "parameter_schema": {"type": "array"},
        "result_schema": "no json",
        "queues": ["default", "gpu"],
        "agents": ["a", "b"],
    }


def test_a_queue_is_passed_on(services, call):
    services.tasks = [task(1), task(2, queues=["other"])]
    assert len(call("task", "ls", "--queue", "gpu").lines) == 2


def test_no_tasks_say_where_they_come_from(call):
    called = call("task", "ls")
    assert called.code == 0
    assert "agents register" in called.out
